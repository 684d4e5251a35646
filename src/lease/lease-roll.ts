import { assert } from '../lib/assert.js';

interface Named {
  readonly id: string;
}

/** Slots that may stand empty before the roll is written anew. */
const GAPS_MIN = 64;

/**
 * Things in ascending order of their ids, which also is the order in which they come: adding
 * one appends, removing one leaves a gap, and gaps are closed once they are the majority.
 */
export class LeaseRoll<Item extends Named> {
  #ids: string[] = [];
  #items: (Item | undefined)[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: string): Item | undefined {
    const slot = this.#slotAfter(id) - 1;
    return this.#ids[slot] === id ? this.#items[slot] : undefined;
  }

  add(item: Item): void {
    assert(item.id > (this.#ids.at(-1) ?? ''), 'ids on a roll ascend');
    this.#ids.push(item.id);
    this.#items.push(item);
    this.#size++;
  }

  /** Takes the first items, ascending by id: several times as fast as one by one. */
  restore(items: readonly Item[]): void {
    assert(this.#ids.length === 0, 'only an empty roll is restored');
    this.#items = items.slice();
    this.#ids = items.map(({ id }) => id);
    this.#size = items.length;
    const ascend = this.#ids.every((id, slot) => slot === 0 || id > (this.#ids[slot - 1] ?? ''));
    assert(ascend, 'ids on a roll ascend');
  }

  delete(item: Item): void {
    const slot = this.#slotAfter(item.id) - 1;
    assert(this.#items[slot] === item, 'what leaves a roll was on it');
    this.#items[slot] = undefined;
    this.#size--;
    const gaps = this.#ids.length - this.#size;
    if (gaps > GAPS_MIN && gaps > this.#size) this.#closeGaps();
  }

  /** In ascending order of ids, from the first after `id`. */
  *after(id: string): Generator<Item> {
    for (let slot = this.#slotAfter(id); slot < this.#items.length; slot++) {
      const item = this.#items[slot];
      if (item !== undefined) yield item;
    }
  }

  /** The first slot whose id sorts after `id`. */
  #slotAfter(id: string): number {
    let low = 0;
    let high = this.#ids.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ids[middle] ?? '') <= id) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #closeGaps(): void {
    const items = this.#items.filter((item) => item !== undefined);
    this.#items = items;
    this.#ids = items.map(({ id }) => id);
  }
}
