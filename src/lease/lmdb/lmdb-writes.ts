import type { Database, Key } from 'lmdb';

import type { SummedValue } from './summed-bytes.js';

/**
 * What one transaction writes to one database, in its order. A key is only removed where it
 * stands: LMDB was seen to abort the process, its memory damaged, where a transaction that
 * removed an absent one failed on a full disk.
 */
export class LmdbWrites<K extends Key> {
  readonly #database: Database<SummedValue, K>;
  /** Whether a key stands after what was written here. */
  readonly #stands = new Map<K, boolean>();

  constructor(database: Database<SummedValue, K>) {
    this.#database = database;
  }

  put(key: K, bytes: Buffer): void {
    this.#stands.set(key, true);
    settlesWithAll(this.#database.put(key, bytes));
  }

  /** Removes a key, which may be absent: a look costs as much as some writes. */
  remove(key: K): void {
    if (this.#stands.get(key) ?? this.#database.doesExist(key)) this.removeStanding(key);
  }

  /** Removes a key that is known to stand. */
  removeStanding(key: K): void {
    this.#stands.set(key, false);
    settlesWithAll(this.#database.remove(key));
  }
}

/** The transaction is what is waited for. */
function settlesWithAll(write: Promise<unknown>): void {
  write.catch(() => {});
}
