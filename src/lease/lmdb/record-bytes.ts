import type { ByteRange } from '../../lib/byte-range.js';
import { isOfAllPages, rangesOf, runsIn } from '../holding.js';
import type { LeaseRecord } from '../lease-record.js';
import type { LeaseTerms } from '../lease-terms.js';
import type { PageRun } from '../page-runs.js';

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
 *     ascii the hash of the secret
 *     ascii its salt, up to the end; nothing where there is none
 */
const COUNT_BYTES = 4;
const NUMBER_BYTES = 8;
const NUMBERS_AT = 4 * COUNT_BYTES;
/** Numbers before the ranges. */
const LEASE_NUMBERS = 4;
const RANGE_BYTES = 2 * NUMBER_BYTES;
const RUN_BYTES = 3 * NUMBER_BYTES;

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
  const { terms, holding } = record;
  const [ranges, runs] = [rangesOf(terms, holding), runsIn(terms, holding)];
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
  let at = 0;
  for (const count of counts) at = bytes.writeUInt32LE(count, at);
  for (const value of numbers) at = bytes.writeDoubleLE(value, at);
  bytes.write(text, textAt);
  bytes.write(secretHash, secretAt);
  bytes.write(secretSalt, saltAt);
  return bytes;
}

/** Name by name, as in {@link RecordReader}. */
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
    const from = bytes.byteOffset;
    const rangeCount = view.getUint32(from + COUNT_BYTES, true);
    const runCount = view.getUint32(from + 2 * COUNT_BYTES, true);
    const numbersAt = from + NUMBERS_AT;
    const rangesAt = numbersAt + LEASE_NUMBERS * NUMBER_BYTES;
    const runsAt = rangesAt + rangeCount * RANGE_BYTES;
    const textAt = runsAt + runCount * RUN_BYTES - from;
    const secretAt = textAt + view.getUint32(from, true);
    const saltAt = secretAt + view.getUint32(from + 3 * COUNT_BYTES, true);
    const shared = this.#sharedIn(bytes, textAt, secretAt);
    // Name by name, all of them: spreading an object into another costs many times as much.
    const terms = {
      id,
      fencingToken: numberAt(view, numbersAt),
      partition: shared.terms.partition,
      media: shared.terms.media,
      path: shared.terms.path,
      inode: shared.terms.inode,
      generation: shared.terms.generation,
      offset: numberAt(view, numbersAt + 2 * NUMBER_BYTES),
      length: numberAt(view, numbersAt + 3 * NUMBER_BYTES),
      access: shared.terms.access,
      ttlMs: shared.terms.ttlMs,
      client: shared.terms.client,
      secretHash: textIn(bytes, secretAt, saltAt),
      secretSalt: textIn(bytes, saltAt, bytes.length),
      holder: shared.terms.holder,
      grantedMs: numberAt(view, numbersAt + NUMBER_BYTES),
    } satisfies Required<{ [K in keyof LeaseTerms]: LeaseTerms[K] }>;
    const isWhole = rangeCount === 1 && runCount === 1 && holdsAll(view, rangesAt, terms);
    const holding = isWhole
      ? numberAt(view, runsAt + NUMBER_BYTES)
      : {
          ranges: several(rangeCount, (index) => rangeAt(view, rangesAt + index * RANGE_BYTES)),
          runs: several(runCount, (index) => runAt(view, runsAt + index * RUN_BYTES)),
        };
    return { terms, holding, quarantined: shared.quarantined, ended: shared.ended };
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

function textIn(bytes: Buffer, from: number, to: number): string | undefined {
  return from < to ? bytes.toString('latin1', from, to) : undefined;
}

/** A number; a small whole one without the box on the heap that others have. */
function numberAt(view: DataView, at: number): number {
  const value = view.getFloat64(at, true);
  const whole = value | 0;
  return whole === value ? whole : value;
}

/** Whether the only range, and the only run behind it, are all of what was asked for: see Holding. */
function holdsAll(view: DataView, at: number, asked: ByteRange): boolean {
  const ofRun = at + RANGE_BYTES;
  const from = numberAt(view, ofRun);
  return (
    numberAt(view, at) === asked.offset &&
    numberAt(view, at + NUMBER_BYTES) === asked.length &&
    isOfAllPages(asked, from, from + numberAt(view, ofRun + 2 * NUMBER_BYTES))
  );
}

function rangeAt(view: DataView, at: number): ByteRange {
  return { offset: numberAt(view, at), length: numberAt(view, at + NUMBER_BYTES) };
}

function runAt(view: DataView, at: number): PageRun {
  return {
    offset: numberAt(view, at),
    deviceOffset: numberAt(view, at + NUMBER_BYTES),
    length: numberAt(view, at + 2 * NUMBER_BYTES),
  };
}

function several<Item>(count: number, itemAt: (index: number) => Item): Item[] {
  return Array.from({ length: count }, (_, index) => itemAt(index));
}
