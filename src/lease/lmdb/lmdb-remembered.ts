import type { Database, RootDatabase } from 'lmdb';

import { decodeJson, encodeJson } from './kept-json.js';
import type { EndedOperation } from '../kept-operation.js';
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

/** A table, by the name that rounds have for the ids in it. */
type Table = Exclude<keyof RememberedRound, 'atMs'>;

/** One of what is remembered. */
interface Entry {
  readonly table: Table;
  readonly id: string;
  /** In milliseconds since the epoch. */
  readonly atMs: number;
  readonly kept: EndedOperation | KeptKey | LeaseTombstone;
}

const TABLES: readonly Table[] = ['ids', 'keys', 'operations'];

/**
 * The ends of leases and operations and the keys of grants that an LMDB file remembers. What comes in one transaction is
 * a round, and rounds have numbers; the oldest are dropped first, some with each transaction, so
 * that nothing walks over all. Nothing of it is in memory but the numbers.
 */
export class LmdbRemembered {
  readonly #tables: Readonly<Record<Table, Database<SummedValue, string>>>;
  readonly #rounds: Database<SummedValue, number>;
  readonly #sizeMax: number;
  #span: Span;
  /** The first round of the span, once it was looked at. */
  #oldest: RememberedRound | undefined;

  /** @param sizeMax how many are remembered. */
  constructor(root: RootDatabase<SummedValue, string>, sizeMax: number) {
    this.#tables = {
      ids: root.openDB<SummedValue, string>('tombstones', SUMMED),
      keys: root.openDB<SummedValue, string>('keys', SUMMED),
      operations: root.openDB<SummedValue, string>('outcomes', SUMMED),
    };
    this.#rounds = root.openDB<SummedValue, number>('rounds', SUMMED);
    this.#sizeMax = sizeMax;
    const [first = 0] = this.#rounds.getKeys({ limit: 1 });
    const [last = first - 1] = this.#rounds.getKeys({ limit: 1, reverse: true });
    const size = TABLES.reduce((sum, table) => sum + entriesOf(this.#tables[table]), 0);
    this.#span = { first, next: last + 1, size };
  }

  /** How a lease ended; undefined where that is not known. @throws DaxdError EBADMSG. */
  tombstone(id: string): LeaseTombstone | undefined {
    const value = this.#tables.ids.get(id);
    return value === undefined ? undefined : decodeJson('tombstone', value, `of lease ${id}`);
  }

  /** What a key was granted; undefined where that is not known. @throws DaxdError EBADMSG. */
  grantOf(key: string): KeptKey | undefined {
    const value = this.#tables.keys.get(key);
    return value === undefined ? undefined : decodeJson('key', value, key);
  }

  /** How an operation ended; undefined where that is not known. @throws DaxdError EBADMSG. */
  outcomeOf(id: string): EndedOperation | undefined {
    const value = this.#tables.operations.get(id);
    return value === undefined ? undefined : decodeJson('outcome', value, `of operation ${id}`);
  }

  /** What one transaction adds, and drops for it. One step comes after the other. */
  step(changes: readonly StoreChange[]): RememberedStep | undefined {
    const entries = changes.map(entryOf).filter((entry) => entry !== undefined);
    const added = entries.length;
    if (added === 0) return undefined;
    const round = roundOf(entries);
    const { dropped, span } = this.#drop(added, round.atMs);
    const write = (): void => {
      for (const table of TABLES) {
        const writes = new LmdbWrites(this.#tables[table]);
        for (const old of dropped) for (const id of old[table] ?? []) writes.remove(id);
        for (const one of entries)
          if (one.table === table) writes.put(one.id, encodeJson(one.kept));
      }
      const roundWrites = new LmdbWrites(this.#rounds);
      for (const { number } of dropped) roundWrites.remove(number);
      roundWrites.put(span.next, encodeJson(round));
    };
    const done = (): void => {
      if (dropped.length > 0) this.#oldest = undefined;
      this.#span = { ...span, next: span.next + 1, size: span.size + added };
    };
    const droppedEntries = dropped.reduce((sum, old) => sum + sizeOf(old) + 1, 0);
    return { dropped: droppedEntries, write, done };
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
      size -= sizeOf(round);
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

function entryOf(change: StoreChange): Entry | undefined {
  if (change.kind === 'tombstone') {
    const { tombstone } = change;
    return { table: 'ids', id: tombstone.terms.id, atMs: tombstone.endedMs, kept: tombstone };
  }
  if (change.kind === 'key') {
    const { key } = change;
    return { table: 'keys', id: key.id, atMs: key.grantedMs, kept: key };
  }
  if (change.kind !== 'outcome') return undefined;
  const { operation } = change;
  return { table: 'operations', id: operation.id, atMs: operation.endedMs, kept: operation };
}

function roundOf(entries: readonly Entry[]): RememberedRound {
  const idsIn = (table: Table): string[] =>
    entries.filter((entry) => entry.table === table).map(({ id }) => id);
  const operations = idsIn('operations');
  return {
    // As arguments of one call they would overflow the stack where very many leases end at once.
    atMs: entries.reduce((latest, { atMs }) => Math.max(latest, atMs), 0),
    ids: idsIn('ids'),
    keys: idsIn('keys'),
    ...(operations.length > 0 && { operations }),
  };
}

function sizeOf({ ids, keys, operations = [] }: RememberedRound): number {
  return ids.length + keys.length + operations.length;
}

function entriesOf(database: Database<SummedValue, string>): number {
  const stats = database.getStats();
  return 'entryCount' in stats ? Number(stats.entryCount) : 0;
}
