import type { Database, RootDatabase } from 'lmdb';

import { DaxdError } from '../../lib/errno.js';
import type { LeaseRecord } from '../lease-record.js';
import type { StoreChange, StoredLease } from '../lease-store.js';
import { grantedDeadlineMs } from '../lease-terms.js';
import { LmdbWrites } from './lmdb-writes.js';
import { RecordReader, recordBytes } from './record-bytes.js';
import { SUMMED, wholeBytes } from './summed-bytes.js';
import type { SummedValue } from './summed-bytes.js';

/**
 * The leases that an LMDB file keeps, by id. A deadline stands in a table of its own, which a
 * renewal changes without the record, and only where it is not the one of the grant.
 */
export class LmdbRecords {
  readonly #records: Database<SummedValue, string>;
  readonly #deadlines: Database<SummedValue, string>;
  /** Leases whose deadline stands in the table. */
  readonly #noted = new Set<string>();
  /** Whether what stands is known without a look: until a transaction has failed. */
  #isSure = true;

  constructor(root: RootDatabase<SummedValue, string>) {
    this.#records = root.openDB<SummedValue, string>('leases', SUMMED);
    this.#deadlines = root.openDB<SummedValue, string>('deadlines', SUMMED);
  }

  /** Whether none is kept. */
  get isEmpty(): boolean {
    return this.#records.getKeysCount({ limit: 1 }) === 0;
  }

  /** All leases, ascending by id. To be run to its end once, before the first write. */
  *stored(): Generator<StoredLease> {
    const reader = new RecordReader();
    const deadlines = this.#deadlinesNoted();
    let noted = deadlines.next();
    for (const { key, value } of this.#records.getRange()) {
      const record = reader.read(key, wholeBytes(value, `lease ${key}`));
      if (noted.done === true || noted.value.id !== key) {
        yield { record, deadlineMs: grantedDeadlineMs(record.terms) };
        continue;
      }
      const { deadlineMs } = noted.value;
      this.#noted.add(key);
      noted = deadlines.next();
      yield { record, deadlineMs };
    }
    if (noted.done === true) return;
    throw new DaxdError('EBADMSG', `deadline of lease ${noted.value.id}: there is no such lease`);
  }

  /** A value is good until the next read, of whatever table. */
  *#deadlinesNoted(): Generator<{ readonly id: string; readonly deadlineMs: number }> {
    for (const { key, value } of this.#deadlines.getRange()) {
      const bytes = wholeBytes(value, `deadline of lease ${key}`);
      yield { id: key, deadlineMs: bytes.readDoubleLE() };
    }
  }

  /** Writes what of the changes is about leases. To be called within a transaction. */
  write(changes: readonly StoreChange[]): void {
    const records = new LmdbWrites(this.#records);
    const deadlines = new LmdbWrites(this.#deadlines);
    for (const change of changes) {
      if (change.kind === 'put') {
        this.#put(records, deadlines, change.record, change.deadlineMs);
      } else if (change.kind === 'deadline') {
        this.#note(deadlines, change.id, change.deadlineMs);
      } else if (change.kind === 'remove') {
        this.#remove(records, deadlines, change.id);
      }
    }
  }

  /** Takes note that a transaction failed: it may be on the disk all the same. */
  failed(): void {
    this.#isSure = false;
  }

  #put(
    records: LmdbWrites<string>,
    deadlines: LmdbWrites<string>,
    record: LeaseRecord,
    deadlineMs: number,
  ): void {
    const { terms } = record;
    records.put(terms.id, recordBytes(record));
    const mayBeNoted = !this.#isSure || this.#noted.has(terms.id);
    if (!mayBeNoted && deadlineMs === grantedDeadlineMs(terms)) return;
    this.#note(deadlines, terms.id, deadlineMs);
  }

  #note(deadlines: LmdbWrites<string>, id: string, deadlineMs: number): void {
    this.#noted.add(id);
    const bytes = Buffer.alloc(Float64Array.BYTES_PER_ELEMENT);
    bytes.writeDoubleLE(deadlineMs);
    deadlines.put(id, bytes);
  }

  #remove(records: LmdbWrites<string>, deadlines: LmdbWrites<string>, id: string): void {
    const isNoted = this.#noted.delete(id);
    if (!this.#isSure) {
      records.remove(id);
      deadlines.remove(id);
      return;
    }
    records.removeStanding(id);
    if (isNoted) deadlines.removeStanding(id);
  }
}
