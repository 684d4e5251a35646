import { assert } from '../lib/assert.js';

/** No node. Its cells are 0. */
export const NONE = 0;

/** Where in its cells a node has what. */
export const START = 0;
export const END = 1;
/** The largest end in its subtree. */
export const MAX_END = 2;
export const PRIORITY = 3;
export const LEFT = 4;
export const RIGHT = 5;
/** Cells of a node, which share a cache line or two. */
const WIDTH = 6;

const CAPACITY_MIN = 64;

/**
 * The nodes of interval trees, side by side in one array: a node is the index of its first cell.
 * A million leases have a million of them: as objects they would be a tenth of the heap, which
 * a restart fills and each full collection walks.
 */
export class IntervalNodes<Owner> {
  /** To be read anew after each {@link make}. */
  cells = new Float64Array(CAPACITY_MIN * WIDTH);
  /** By node, in units of WIDTH. */
  readonly #owners: (Owner | undefined)[] = [undefined];
  /** The first of those that were dropped; the next one is its LEFT. */
  #dropped = NONE;
  #seed = 0x9e3779b9;

  /** Makes room for so many nodes more, at once; many trees may ask, each for a few. */
  reserve(count: number): void {
    const needed = (this.#owners.length + count) * WIDTH;
    if (needed > this.cells.length) this.#grow(Math.max(needed, 2 * this.cells.length));
  }

  /** Makes a node of a half-open interval, under which nothing stands yet. */
  make(start: number, end: number, owner: Owner): number {
    const node = this.#take();
    const { cells } = this;
    cells[node + START] = start;
    cells[node + END] = end;
    cells[node + MAX_END] = end;
    cells[node + PRIORITY] = this.#nextPriority();
    cells[node + LEFT] = NONE;
    cells[node + RIGHT] = NONE;
    this.#owners[node / WIDTH] = owner;
    return node;
  }

  /** Gives a node back that no tree has any more. */
  drop(node: number): void {
    this.#owners[node / WIDTH] = undefined;
    this.cells[node + LEFT] = this.#dropped;
    this.#dropped = node;
  }

  ownerOf(node: number): Owner {
    const owner = this.#owners[node / WIDTH];
    assert(owner !== undefined, 'a node of a tree has an owner');
    return owner;
  }

  #take(): number {
    const dropped = this.#dropped;
    if (dropped !== NONE) {
      this.#dropped = this.cells[dropped + LEFT] ?? NONE;
      return dropped;
    }
    const next = this.#owners.length * WIDTH;
    if (next === this.cells.length) this.#grow(2 * next);
    this.#owners.push(undefined);
    return next;
  }

  #grow(length: number): void {
    const cells = new Float64Array(length);
    cells.set(this.cells);
    this.cells = cells;
  }

  /** Marsaglia's xorshift: good enough to balance, and the same in every run. */
  #nextPriority(): number {
    let x = this.#seed;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#seed = x;
    return x;
  }
}
