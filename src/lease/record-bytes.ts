import type { ByteRange } from './byte-ranges.js';
import type { LeaseRecord } from './lease-record.js';
import type { LeaseTerms } from './lease-terms.js';
import type { PageRun } from './page-runs.js';

/*
 * How a lease stands in a store under its id. A restart reads a million of them: what they have
 * each for itself is binary, little-endian; what many share is JSON that is read once.
 *
 *     u32   bytes of the shared JSON
 *     u32   count of ranges
 *     u32   count of runs
 *     u32   bytes of the hash of the secret; 0 where there is none
 *     f64   fencing token, granted, offset, length
 *     f64   of each range: offset, length
 *     f64   of each run: offset, offset on the device, length
 *     utf8  the shared JSON
 *     utf8  the hash of the secret
 *     utf8  its salt, up to the end; nothing where there is none
 */
const COUNT_BYTES = 4;
const NUMBER_BYTES = 8;
const NUMBERS_AT = 4 * COUNT_BYTES;
/** Numbers before the ranges, of each range, and of each run. */
const LEASE_NUMBERS = 4;
const RANGE_NUMBERS = 2;
const RUN_NUMBERS = 3;

/** What leases of one holder on one file have in common. */
interface Shared extends Pick<LeaseRecord, 'quarantined' | 'ended'> {
  readonly terms: Omit<LeaseTerms, keyof Own>;
}

/** What each lease has for itself. */
type Own = Pick<
  LeaseTerms,
  'fencingToken' | 'grantedMs' | 'id' | 'length' | 'offset' | 'secretHash' | 'secretSalt'
>;

/** A lease as a store keeps it under its id. */
export function recordBytes(record: LeaseRecord): Buffer {
  const { terms, ranges, runs } = record;
  const { fencingToken, grantedMs, offset, length, secretHash = '', secretSalt = '' } = terms;
  const text = JSON.stringify(sharedOf(record));
  const numbers = [fencingToken, grantedMs, offset, length];
  for (const range of ranges) numbers.push(range.offset, range.length);
  for (const run of runs) numbers.push(run.offset, run.deviceOffset, run.length);

  const textAt = NUMBERS_AT + numbers.length * NUMBER_BYTES;
  const secretAt = textAt + Buffer.byteLength(text);
  const saltAt = secretAt + Buffer.byteLength(secretHash);
  const bytes = Buffer.allocUnsafe(saltAt + Buffer.byteLength(secretSalt));
  const counts = [secretAt - textAt, ranges.length, runs.length, saltAt - secretAt];
  for (const [i, count] of counts.entries()) bytes.writeUInt32LE(count, i * COUNT_BYTES);
  for (const [i, value] of numbers.entries()) {
    bytes.writeDoubleLE(value, NUMBERS_AT + i * NUMBER_BYTES);
  }
  bytes.write(text, textAt);
  bytes.write(secretHash, secretAt);
  bytes.write(secretSalt, saltAt);
  return bytes;
}

/** Name by name, as in {@link termsOf}. */
function sharedOf({ terms, quarantined, ended }: LeaseRecord): Shared {
  const { partition, media, path, inode, generation, access, ttlMs, client, holder } = terms;
  return {
    terms: { partition, media, path, inode, generation, access, ttlMs, client, holder },
    quarantined,
    ended,
  };
}

/** Reads what {@link recordBytes} wrote: the records of one store, one after the other. */
export class RecordReader {
  readonly #shared = new Map<string, Shared>();
  /** What the lease before shared, as bytes and as it was read. */
  #lastBytes: Buffer = Buffer.alloc(0);
  #last: Shared | undefined;
  /** Of the memory that the records come in. */
  #view: DataView = new DataView(new ArrayBuffer(0));

  /** Runs once for each lease that a store keeps, at start. */
  read(id: string, bytes: Buffer): LeaseRecord {
    if (this.#view.buffer !== bytes.buffer) this.#view = new DataView(bytes.buffer);
    const view = this.#view;
    const countAt = (index: number): number =>
      view.getUint32(bytes.byteOffset + index * COUNT_BYTES, true);
    const numberAt = (index: number): number =>
      unboxed(view.getFloat64(bytes.byteOffset + NUMBERS_AT + index * NUMBER_BYTES, true));

    const rangeCount = countAt(1);
    const runCount = countAt(2);
    const firstRun = LEASE_NUMBERS + rangeCount * RANGE_NUMBERS;
    const textAt = NUMBERS_AT + (firstRun + runCount * RUN_NUMBERS) * NUMBER_BYTES;
    const secretAt = textAt + countAt(0);
    const saltAt = secretAt + countAt(3);
    const { terms, quarantined, ended } = this.#sharedIn(bytes, textAt, secretAt);
    const own: Own = {
      id,
      fencingToken: numberAt(0),
      grantedMs: numberAt(1),
      offset: numberAt(2),
      length: numberAt(3),
      secretHash: textIn(bytes, secretAt, saltAt),
      secretSalt: textIn(bytes, saltAt, bytes.length),
    };
    const ranges = several(rangeCount, (index): ByteRange => {
      const at = LEASE_NUMBERS + index * RANGE_NUMBERS;
      return { offset: numberAt(at), length: numberAt(at + 1) };
    });
    const runs = several(runCount, (index): PageRun => {
      const at = firstRun + index * RUN_NUMBERS;
      return { offset: numberAt(at), deviceOffset: numberAt(at + 1), length: numberAt(at + 2) };
    });
    return { terms: termsOf(own, terms), ranges, runs, quarantined, ended };
  }

  /** Leases that follow each other mostly share it, and comparing costs less than a text. */
  #sharedIn(bytes: Buffer, from: number, to: number): Shared {
    if (this.#last !== undefined && this.#lastBytes.compare(bytes, from, to) === 0) {
      return this.#last;
    }
    const text = bytes.toString('utf8', from, to);
    let shared = this.#shared.get(text);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- daxd wrote it, and not a bit has changed
    if (shared === undefined) this.#shared.set(text, (shared = JSON.parse(text) as Shared));
    this.#last = shared;
    this.#lastBytes = Buffer.from(bytes.subarray(from, to));
    return shared;
  }
}

/** Name by name, all of them: spreading an object into another costs many times as much. */
function termsOf(
  own: Own,
  shared: Shared['terms'],
): Required<{ [K in keyof LeaseTerms]: LeaseTerms[K] }> {
  return {
    id: own.id,
    fencingToken: own.fencingToken,
    partition: shared.partition,
    media: shared.media,
    path: shared.path,
    inode: shared.inode,
    generation: shared.generation,
    offset: own.offset,
    length: own.length,
    access: shared.access,
    ttlMs: shared.ttlMs,
    client: shared.client,
    secretHash: own.secretHash,
    secretSalt: own.secretSalt,
    holder: shared.holder,
    grantedMs: own.grantedMs,
  };
}

function textIn(bytes: Buffer, from: number, to: number): string | undefined {
  return from < to ? bytes.toString('utf8', from, to) : undefined;
}

/** The same number; a small whole one without the box on the heap that others have. */
function unboxed(value: number): number {
  const whole = value | 0;
  return whole === value ? whole : value;
}

/** Nearly always there is one, and an array that is pushed to takes room for many. */
function several<Item>(count: number, itemAt: (index: number) => Item): Item[] {
  if (count === 0) return [];
  const items = [itemAt(0)];
  for (let index = 1; index < count; index++) items.push(itemAt(index));
  return items;
}
