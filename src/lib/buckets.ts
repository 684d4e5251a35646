import { assert } from './assert.js';

const NOTHING: ReadonlySet<never> = new Set();

/**
 * Items by key, those of one key in the order in which they came.
 *
 * The last key stays, without items. V8 gives a Map that runs empty a new table, in the same
 * generation: one that had an item a moment ago, every time, would leave its tables among the
 * old objects, where nothing but a full collection frees them, and each page that they fill is
 * a page fault for whoever waits.
 */
export class Buckets<Key, Item> {
  readonly #buckets = new Map<Key, Set<Item> | undefined>();
  #size = 0;

  /** How many items there are. */
  get size(): number {
    return this.#size;
  }

  /** Those of a key. */
  of(key: Key): ReadonlySet<Item> {
    return this.#buckets.get(key) ?? NOTHING;
  }

  /** Those of all keys. */
  *all(): Generator<Item> {
    for (const bucket of this.#buckets.values()) if (bucket !== undefined) yield* bucket;
  }

  /** Takes in an item that is not there. */
  add(key: Key, item: Item): void {
    const bucket = this.#buckets.get(key);
    assert(bucket?.has(item) !== true, 'an item is added once');
    if (bucket === undefined) this.#buckets.set(key, new Set([item]));
    else bucket.add(item);
    this.#size++;
  }

  /** Whether it was there. */
  delete(key: Key, item: Item): boolean {
    const bucket = this.#buckets.get(key);
    if (bucket?.delete(item) !== true) return false;
    this.#size--;
    if (bucket.size > 0) return true;
    if (this.#buckets.size > 1) this.#buckets.delete(key);
    else this.#buckets.set(key, undefined);
    return true;
  }
}
