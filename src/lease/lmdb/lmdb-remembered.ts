import type { Database, RootDatabase } from 'lmdb';

import { decodeJson, encodeJson } from './kept-json.js';
import type { KeptKey, LeaseTombstone, RememberedRound } from '../lease-record.js';
import type { StoreChange } from '../lease-store.js';
import { REMEMBERED_MS } from '../limits.js';
import { LmdbWrites } from './lmdb-writes.js';
import { SUMMED } from './summed-bytes.js';
import type { SummedValue } from './summed-bytes.js';

/** How many more than twice what comes in are dropped at most by one transaction. */
const DROPPED_MIN = 16;

/** What a transaction changes of what is remembered. */
export interface RememberedStep {
  /** How many entries are dropped, the rounds that name them included. */
  readonly dropped: number;
  /** To be called within the transaction. */
  readonly write: () => void;
  /** To be called once it is durable. */
  readonly done: () => void;
}

/** What is remembered, from its first round to before the next. */
interface Span {
  readonly first: number;
  readonly next: number;
  readonly size: number;
}

interface NumberedRound extends RememberedRound {
  readonly number: number;
}

/**
 * The ends of leases and the keys of grants that an LMDB file remembers. What comes in one transaction is a round, and
 * rounds have numbers; the oldest are dropped first, some with each transaction, so that
 * nothing walks over all. Nothing of it is in memory but the numbers.
 */
export class LmdbRemembered {
  readonly #tombstones: Database<SummedValue, string>;
  readonly #keys: Database<SummedValue, string>;
  readonly #rounds: Database<SummedValue, number>;
  readonly #sizeMax: number;
  #span: Span;
  /** The first round of the span, once it was looked at. */
  #oldest: RememberedRound | undefined;

  /** @param sizeMax how many are remembered. */
  constructor(root: RootDatabase<SummedValue, string>, sizeMax: number) {
    this.#tombstones = root.openDB<SummedValue, string>('tombstones', SUMMED);
    this.#keys = root.openDB<SummedValue, string>('keys', SUMMED);
    this.#rounds = root.openDB<SummedValue, number>('rounds', SUMMED);
    this.#sizeMax = sizeMax;
    const [first = 0] = this.#rounds.getKeys({ limit: 1 });
    const [last = first - 1] = this.#rounds.getKeys({ limit: 1, reverse: true });
    this.#span = {
      first,
      next: last + 1,
      size: entriesOf(this.#tombstones) + entriesOf(this.#keys),
    };
  }

  /** How a lease ended; undefined where that is not known. @throws DaxdError EBADMSG. */
  tombstone(id: string): LeaseTombstone | undefined {
    const value = this.#tombstones.get(id);
    return value === undefined ? undefined : decodeJson('tombstone', value, `of lease ${id}`);
  }

  /** What a key was granted; undefined where that is not known. @throws DaxdError EBADMSG. */
  grantOf(key: string): KeptKey | undefined {
    const value = this.#keys.get(key);
    return value === undefined ? undefined : decodeJson('key', value, key);
  }

  /** What one transaction adds, and drops for it. One step comes after the other. */
  step(changes: readonly StoreChange[]): RememberedStep | undefined {
    const ends = changes.flatMap((one) => (one.kind === 'tombstone' ? [one.tombstone] : []));
    const keys = changes.flatMap((one) => (one.kind === 'key' ? [one.key] : []));
    const added = ends.length + keys.length;
    if (added === 0) return undefined;
    const round = roundOf(ends, keys);
    const { dropped, span } = this.#drop(added, round.atMs);
    const write = (): void => {
      const tombstoneWrites = new LmdbWrites(this.#tombstones);
      const keyWrites = new LmdbWrites(this.#keys);
      const roundWrites = new LmdbWrites(this.#rounds);
      for (const { number, ids, keys: old } of dropped) {
        for (const id of ids) tombstoneWrites.remove(id);
        for (const id of old) keyWrites.remove(id);
        roundWrites.remove(number);
      }
      for (const end of ends) tombstoneWrites.put(end.terms.id, encodeJson(end));
      for (const key of keys) keyWrites.put(key.id, encodeJson(key));
      roundWrites.put(span.next, encodeJson(round));
    };
    const done = (): void => {
      if (dropped.length > 0) this.#oldest = undefined;
      this.#span = { ...span, next: span.next + 1, size: span.size + added };
    };
    const entries = dropped.reduce(
      (sum, { ids, keys: old }) => sum + ids.length + old.length + 1,
      0,
    );
    return { dropped: entries, write, done };
  }

  /** The rounds that are too old, or too many with what is added, and what is left. */
  #drop(added: number, nowMs: number): { dropped: readonly NumberedRound[]; span: Span } {
    const dropped: NumberedRound[] = [];
    let { first, size } = this.#span;
    const { next } = this.#span;
    const sizeMin = size - 2 * added - DROPPED_MIN;
    while (first < next && size > sizeMin) {
      const round = this.#round(first);
      if (size + added <= this.#sizeMax && round.atMs > nowMs - REMEMBERED_MS) break;
      dropped.push({ ...round, number: first });
      size -= round.ids.length + round.keys.length;
      first++;
    }
    return { dropped, span: { first, next, size } };
  }

  #round(number: number): RememberedRound {
    if (number !== this.#span.first) return this.#read(number);
    this.#oldest ??= this.#read(number);
    return this.#oldest;
  }

  /** One that cannot be read is dropped alone: no lease is refused for what is only remembered. */
  #read(number: number): RememberedRound {
    try {
      return decodeJson('round', this.#rounds.get(number) ?? null, String(number));
    } catch {
      return { atMs: 0, ids: [], keys: [] };
    }
  }
}

function roundOf(ends: readonly LeaseTombstone[], keys: readonly KeptKey[]): RememberedRound {
  const times = [...ends.map(({ endedMs }) => endedMs), ...keys.map(({ grantedMs }) => grantedMs)];
  return {
    // As arguments of one call they would overflow the stack where very many leases end at once.
    atMs: times.reduce((latest, ms) => Math.max(latest, ms), 0),
    ids: ends.map(({ terms }) => terms.id),
    keys: keys.map(({ id }) => id),
  };
}

function entriesOf(database: Database<SummedValue, string>): number {
  const stats = database.getStats();
  return 'entryCount' in stats ? Number(stats.entryCount) : 0;
}
