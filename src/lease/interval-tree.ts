import { assert } from '../lib/assert.js';
import type { ByteRange } from '../lib/byte-range.js';
import {
  END,
  type IntervalNodes,
  LEFT,
  MAX_END,
  NONE,
  PRIORITY,
  RIGHT,
  START,
} from './interval-nodes.js';

/** Who has intervals. */
export interface IntervalOwner {
  readonly id: string;
  /** Tells the intervals of an owner that has them at the start; allocates nothing for it. */
  eachPinned(take: (offset: number, length: number) => void): void;
}

/**
 * Half-open intervals that belong to owners, at most one of each owner at each start, with a
 * lookup of those that overlap a range, in O(log n) for each one found.
 *
 * A treap: ordered by start and the owner's id, and by a pseudo-random priority as a heap, which
 * keeps its depth logarithmic whatever the order of inserts. Every node knows the largest end
 * below it, so a search leaves out subtrees that end too early.
 */
export class IntervalTree<Owner extends IntervalOwner> {
  readonly #nodes: IntervalNodes<Owner>;
  #root = NONE;
  #size = 0;

  /** @param nodes where this tree and others have their nodes. */
  constructor(nodes: IntervalNodes<Owner>) {
    this.#nodes = nodes;
  }

  get size(): number {
    return this.#size;
  }

  add({ offset, length }: ByteRange, owner: Owner): void {
    const node = this.#nodes.make(offset, offset + length, owner);
    this.#root = this.#insert(this.#root, node);
    this.#size++;
  }

  /** Takes the first intervals, of owners ascending by id, without a search for each place. */
  build(owners: readonly Owner[]): void {
    assert(this.#root === NONE, 'only an empty tree is built');
    let count = 0;
    const counted = (): void => {
      count++;
    };
    for (const owner of owners) owner.eachPinned(counted);
    const nodes = new Int32Array(count);
    this.#nodes.reserve(count);
    let made = 0;
    for (const owner of owners) {
      owner.eachPinned((offset, length) => {
        nodes[made++] = this.#nodes.make(offset, offset + length, owner);
      });
    }
    // What starts at the same place stays in the order of the ids.
    nodes.sort((a, b) => this.#at(a, START) - this.#at(b, START));
    this.#root = this.#treapOf(nodes);
    this.#size = count;
  }

  /** Removes the interval of an owner with this start; false when there is none. */
  delete(start: number, owner: Owner): boolean {
    const before = this.#size;
    this.#root = this.#remove(this.#root, start, owner.id);
    return this.#size < before;
  }

  /** Owners of intervals that overlap [from, to), by ascending start; an owner may come twice. */
  *overlapping(from: number, to: number): Generator<Owner> {
    yield* this.#search(this.#root, from, to);
  }

  *#search(node: number, from: number, to: number): Generator<Owner> {
    if (node === NONE || this.#at(node, MAX_END) <= from) return;
    yield* this.#search(this.#at(node, LEFT), from, to);
    if (this.#at(node, START) >= to) return;
    if (this.#at(node, END) > from) yield this.#nodes.ownerOf(node);
    yield* this.#search(this.#at(node, RIGHT), from, to);
  }

  #insert(root: number, node: number): number {
    if (root === NONE) return node;
    const { id } = this.#nodes.ownerOf(node);
    const start = this.#at(node, START);
    const { cells } = this.#nodes;
    if (this.#at(node, PRIORITY) > this.#at(root, PRIORITY)) {
      const [left, right] = this.#split(root, start, id);
      cells[node + LEFT] = left;
      cells[node + RIGHT] = right;
      return this.#refreshed(node);
    }
    const side = this.#isBefore(root, start, id) ? RIGHT : LEFT;
    cells[root + side] = this.#insert(this.#at(root, side), node);
    // The other subtree is the same: it need not be looked at.
    cells[root + MAX_END] = Math.max(this.#at(root, MAX_END), this.#at(node, END));
    return root;
  }

  /** The treap of nodes in ascending order, each of which comes once on its right edge. */
  #treapOf(nodes: Int32Array): number {
    const { cells } = this.#nodes;
    /** The nodes from the root down to the right; what is under them to the left is whole. */
    const edge: number[] = [];
    const takeLast = (below: number): number => {
      let taken = NONE;
      for (let last = edge.at(-1); last !== undefined; last = edge.at(-1)) {
        if (this.#at(last, PRIORITY) >= below) break;
        taken = this.#refreshed(last);
        edge.pop();
      }
      return taken;
    };
    for (const node of nodes) {
      cells[node + LEFT] = takeLast(this.#at(node, PRIORITY));
      const parent = edge.at(-1);
      if (parent !== undefined) cells[parent + RIGHT] = node;
      edge.push(node);
    }
    return takeLast(Infinity);
  }

  #remove(root: number, start: number, id: string): number {
    if (root === NONE) return NONE;
    if (this.#at(root, START) === start && this.#nodes.ownerOf(root).id === id) {
      const merged = this.#merge(this.#at(root, LEFT), this.#at(root, RIGHT));
      this.#nodes.drop(root);
      this.#size--;
      return merged;
    }
    const side = this.#isBefore(root, start, id) ? RIGHT : LEFT;
    this.#nodes.cells[root + side] = this.#remove(this.#at(root, side), start, id);
    return this.#refreshed(root);
  }

  /** Parts a subtree into what sorts before (start, id) and the rest. */
  #split(root: number, start: number, id: string): [number, number] {
    if (root === NONE) return [NONE, NONE];
    const { cells } = this.#nodes;
    if (this.#isBefore(root, start, id)) {
      const [left, right] = this.#split(this.#at(root, RIGHT), start, id);
      cells[root + RIGHT] = left;
      return [this.#refreshed(root), right];
    }
    const [left, right] = this.#split(this.#at(root, LEFT), start, id);
    cells[root + LEFT] = right;
    return [left, this.#refreshed(root)];
  }

  #merge(left: number, right: number): number {
    if (left === NONE) return right;
    if (right === NONE) return left;
    const { cells } = this.#nodes;
    if (this.#at(left, PRIORITY) > this.#at(right, PRIORITY)) {
      cells[left + RIGHT] = this.#merge(this.#at(left, RIGHT), right);
      return this.#refreshed(left);
    }
    cells[right + LEFT] = this.#merge(left, this.#at(right, LEFT));
    return this.#refreshed(right);
  }

  #isBefore(node: number, start: number, id: string): boolean {
    const own = this.#at(node, START);
    return own < start || (own === start && this.#nodes.ownerOf(node).id < id);
  }

  /** The node, once it knows the largest end below it anew. */
  #refreshed(node: number): number {
    const left = this.#at(node, LEFT);
    const below = Math.max(this.#at(left, MAX_END), this.#at(this.#at(node, RIGHT), MAX_END));
    this.#nodes.cells[node + MAX_END] = Math.max(this.#at(node, END), below);
    return node;
  }

  #at(node: number, cell: number): number {
    return this.#nodes.cells[node + cell] ?? 0;
  }
}
