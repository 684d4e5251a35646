import { assert } from '../lib/assert.js';
import type { CancelTimer, Clock } from '../lib/clock.js';

/** What can run out. Both fields belong to the {@link Deadlines} that holds it. */
export interface Timed {
  /** On the clock of the Deadlines, in milliseconds. */
  deadlineMs: number;
  /** Its place in the heap; -1 while it is in none. */
  deadlineSlot: number;
}

const REACHED_PER_TURN = 1_000;

/**
 * Calls back for each thing whose deadline is reached: a binary heap with one timer for its
 * top. Adding, moving and removing cost O(log n), and nothing ever walks over all of them.
 */
export class Deadlines<Item extends Timed> {
  #heap: Item[] = [];
  readonly #clock: Clock;
  readonly #onReached: (item: Item) => void;
  #armedMs = Infinity;
  #cancelTimer: CancelTimer | undefined;
  #isClosed = false;

  /** `onReached` runs from a timer, with the item already taken out. */
  constructor(clock: Clock, onReached: (item: Item) => void) {
    this.#clock = clock;
    this.#onReached = onReached;
  }

  get size(): number {
    return this.#heap.length;
  }

  /** Sets an item's deadline, whether it is held already or not. */
  set(item: Item, deadlineMs: number): void {
    item.deadlineMs = deadlineMs;
    if (item.deadlineSlot < 0) {
      item.deadlineSlot = this.#heap.length;
      this.#heap.push(item);
    }
    this.#settle(item);
    this.#arm();
  }

  /** Takes the first items, each with its deadline: much faster than one by one. */
  restore(items: readonly Item[]): void {
    assert(this.#heap.length === 0, 'only an empty heap is restored');
    this.#heap = items.slice();
    for (const [slot, item] of items.entries()) item.deadlineSlot = slot;
    // From the last that has something below it up to the top.
    for (let slot = (items.length >> 1) - 1; slot >= 0; slot--) {
      const item = items[slot];
      if (item !== undefined) this.#sink(item);
    }
    this.#arm();
  }

  /** Forgets an item; does nothing when it is not held. */
  delete(item: Item): void {
    const slot = item.deadlineSlot;
    if (slot < 0) return;
    assert(this.#heap[slot] === item, 'an item in the heap knows its slot');
    const last = this.#heap.pop();
    item.deadlineSlot = -1;
    if (last !== undefined && last !== item) {
      this.#heap[slot] = last;
      last.deadlineSlot = slot;
      this.#settle(last);
    }
    if (this.#heap.length === 0) this.#disarm();
  }

  #fire(): void {
    this.#disarm();
    const nowMs = this.#clock.nowMs();
    // Where very many run out at once, the event loop gets its turns in between.
    for (let turn = 0; turn < REACHED_PER_TURN; turn++) {
      const top = this.#heap[0];
      if (top === undefined || top.deadlineMs > nowMs) break;
      this.delete(top);
      this.#onReached(top);
    }
    this.#arm();
  }

  /** Calls back no more. */
  close(): void {
    this.#isClosed = true;
    this.#disarm();
  }

  /** A timer set too early only fires once for nothing, so a later top leaves it alone. */
  #arm(): void {
    const top = this.#heap[0];
    if (this.#isClosed || top === undefined || top.deadlineMs >= this.#armedMs) return;
    this.#disarm();
    this.#armedMs = top.deadlineMs;
    const delayMs = Math.max(1, Math.ceil(top.deadlineMs - this.#clock.nowMs()));
    this.#cancelTimer = this.#clock.setTimer(() => {
      this.#fire();
    }, delayMs);
  }

  #disarm(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#armedMs = Infinity;
  }

  /** Moves an item to where its deadline belongs. */
  #settle(item: Item): void {
    let slot = item.deadlineSlot;
    while (slot > 0) {
      const parent = this.#heap[(slot - 1) >> 1];
      if (parent === undefined || parent.deadlineMs <= item.deadlineMs) break;
      this.#put(parent, slot);
      slot = (slot - 1) >> 1;
    }
    this.#put(item, slot);
    this.#sink(item);
  }

  /** Moves an item below those of an earlier deadline. */
  #sink(item: Item): void {
    let slot = item.deadlineSlot;
    let child = this.#earlierChild(slot);
    while (child !== undefined && child.deadlineMs < item.deadlineMs) {
      const childSlot = child.deadlineSlot;
      this.#put(child, slot);
      slot = childSlot;
      child = this.#earlierChild(slot);
    }
    this.#put(item, slot);
  }

  #earlierChild(slot: number): Item | undefined {
    const left = this.#heap[2 * slot + 1];
    const right = this.#heap[2 * slot + 2];
    if (left === undefined || right === undefined) return left;
    return right.deadlineMs < left.deadlineMs ? right : left;
  }

  #put(item: Item, slot: number): void {
    this.#heap[slot] = item;
    item.deadlineSlot = slot;
  }
}
