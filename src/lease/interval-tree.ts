import { assert } from '../lib/assert.js';

/** A half-open interval that belongs to an owner; one owner has at most one at each start. */
export interface Interval<Owner> {
  readonly start: number;
  readonly end: number;
  readonly id: string;
  readonly owner: Owner;
}

interface Node<Owner> extends Interval<Owner> {
  readonly priority: number;
  /** The largest end in this subtree. */
  maxEnd: number;
  left: Node<Owner> | undefined;
  right: Node<Owner> | undefined;
}

/**
 * Intervals with a lookup of those that overlap a range, in O(log n) for each one found.
 *
 * A treap: ordered by (start, id), and by a pseudo-random priority as a heap, which keeps
 * its depth logarithmic whatever the order of inserts. Every node knows the largest end
 * below it, so a search leaves out subtrees that end too early.
 */
export class IntervalTree<Owner> {
  #root: Node<Owner> | undefined;
  #seed = 0x9e3779b9;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(interval: Interval<Owner>): void {
    this.#root = insert(this.#root, this.#node(interval));
    this.#size++;
  }

  /** Takes the first intervals, without a search for the place of each. */
  build(intervals: Iterable<Interval<Owner>>): void {
    assert(this.#root === undefined, 'only an empty tree is built');
    const nodes: Node<Owner>[] = [];
    for (const interval of intervals) nodes.push(this.#node(interval));
    this.#root = treapOf(nodes.toSorted((a, b) => (isBefore(a, b.start, b.id) ? -1 : 1)));
    this.#size = nodes.length;
  }

  /** Removes the interval with this start and id; false when there is none. */
  delete(start: number, id: string): boolean {
    const before = this.#size;
    this.#root = remove(this.#root, start, id, () => {
      this.#size--;
    });
    return this.#size < before;
  }

  /** Owners of intervals that overlap [from, to), by ascending start; an owner may come twice. */
  *overlapping(from: number, to: number): Generator<Owner> {
    yield* search(this.#root, from, to);
  }

  #node({ start, end, id, owner }: Interval<Owner>): Node<Owner> {
    const priority = this.#nextPriority();
    return { start, end, id, owner, priority, maxEnd: end, left: undefined, right: undefined };
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

function* search<Owner>(node: Node<Owner> | undefined, from: number, to: number): Generator<Owner> {
  if (node === undefined || node.maxEnd <= from) return;
  yield* search(node.left, from, to);
  if (node.start >= to) return;
  if (node.end > from) yield node.owner;
  yield* search(node.right, from, to);
}

function insert<Owner>(root: Node<Owner> | undefined, node: Node<Owner>): Node<Owner> {
  if (root === undefined) return node;
  if (node.priority > root.priority) {
    [node.left, node.right] = split(root, node.start, node.id);
    return refreshed(node);
  }
  if (isBefore(node, root.start, root.id)) root.left = insert(root.left, node);
  else root.right = insert(root.right, node);
  return refreshed(root);
}

/** The treap of nodes in ascending order, each of which comes once on its right edge. */
function treapOf<Owner>(nodes: readonly Node<Owner>[]): Node<Owner> | undefined {
  /** The nodes from the root down to the right; what is under them to the left is whole. */
  const edge: Node<Owner>[] = [];
  const takeLast = (below: number): Node<Owner> | undefined => {
    let taken: Node<Owner> | undefined;
    for (let last = edge.at(-1); last !== undefined && last.priority < below; last = edge.at(-1)) {
      taken = refreshed(last);
      edge.pop();
    }
    return taken;
  };
  for (const node of nodes) {
    node.left = takeLast(node.priority);
    const parent = edge.at(-1);
    if (parent !== undefined) parent.right = node;
    edge.push(node);
  }
  return takeLast(Infinity);
}

function remove<Owner>(
  root: Node<Owner> | undefined,
  start: number,
  id: string,
  onFound: () => void,
): Node<Owner> | undefined {
  if (root === undefined) return undefined;
  if (root.start === start && root.id === id) {
    onFound();
    return merge(root.left, root.right);
  }
  if (isBefore(root, start, id)) root.right = remove(root.right, start, id, onFound);
  else root.left = remove(root.left, start, id, onFound);
  return refreshed(root);
}

/** Parts a subtree into what sorts before (start, id) and the rest. */
function split<Owner>(
  root: Node<Owner> | undefined,
  start: number,
  id: string,
): [Node<Owner> | undefined, Node<Owner> | undefined] {
  if (root === undefined) return [undefined, undefined];
  if (isBefore(root, start, id)) {
    const [left, right] = split(root.right, start, id);
    root.right = left;
    return [refreshed(root), right];
  }
  const [left, right] = split(root.left, start, id);
  root.left = right;
  return [left, refreshed(root)];
}

function merge<Owner>(
  left: Node<Owner> | undefined,
  right: Node<Owner> | undefined,
): Node<Owner> | undefined {
  if (left === undefined) return right;
  if (right === undefined) return left;
  if (left.priority > right.priority) {
    left.right = merge(left.right, right);
    return refreshed(left);
  }
  right.left = merge(left, right.left);
  return refreshed(right);
}

function isBefore<Owner>(node: Node<Owner>, start: number, id: string): boolean {
  return node.start < start || (node.start === start && node.id < id);
}

function refreshed<Owner>(node: Node<Owner>): Node<Owner> {
  node.maxEnd = Math.max(node.end, node.left?.maxEnd ?? 0, node.right?.maxEnd ?? 0);
  return node;
}
