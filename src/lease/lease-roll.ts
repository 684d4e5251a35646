import { assert } from '../lib/assert.js';
import { partitionPoint } from '../lib/partition-point.js';

interface Named {
  readonly id: string;
}

/** Slots that may stand empty before the roll is written anew. */
const GAPS_MIN = 64;

/**
 * Things in ascending order of their ids, which also is the order in which they come: adding
 * one appends, removing one leaves its id in a gap, and gaps are closed once they are the
 * majority.
 */
export class LeaseRoll<Item extends Named> {
  #slots: (Item | string)[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: string): Item | undefined {
    const item = this.#slots[this.#slotAfter(id) - 1];
    return typeof item === 'object' && item.id === id ? item : undefined;
  }

  add(item: Item): void {
    const last = this.#slots.at(-1);
    assert(last === undefined || item.id > idIn(last), 'ids on a roll ascend');
    this.#slots.push(item);
    this.#size++;
  }

  /** Takes the first items, ascending by id: several times as fast as one by one. */
  restore(items: readonly Item[]): void {
    assert(this.#slots.length === 0, 'only an empty roll is restored');
    let last = '';
    for (const { id } of items) {
      assert(id > last, 'ids on a roll ascend');
      last = id;
    }
    this.#slots = items.slice();
    this.#size = items.length;
  }

  delete(item: Item): void {
    const slot = this.#slotAfter(item.id) - 1;
    assert(this.#slots[slot] === item, 'what leaves a roll was on it');
    this.#slots[slot] = item.id;
    this.#size--;
    const gaps = this.#slots.length - this.#size;
    if (gaps > GAPS_MIN && gaps > this.#size) this.#closeGaps();
  }

  /** In ascending order of ids, from the first after `id`. */
  *after(id: string): Generator<Item> {
    for (let slot = this.#slotAfter(id); slot < this.#slots.length; slot++) {
      const item = this.#slots[slot];
      if (typeof item === 'object') yield item;
    }
  }

  /** The first slot whose id sorts after `id`. */
  #slotAfter(id: string): number {
    return partitionPoint(this.#slots, (slot) => idIn(slot) <= id);
  }

  #closeGaps(): void {
    this.#slots = this.#slots.filter((item) => typeof item === 'object');
  }
}

function idIn(slot: Named | string): string {
  return typeof slot === 'string' ? slot : slot.id;
}
