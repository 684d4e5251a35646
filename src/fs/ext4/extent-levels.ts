import { entryCount, indexEntries, lastEntryFrom, leafExtents } from './extent-node.js';
import type { IndexEntry } from './extent-node.js';
import type { BlockSpan, Extent } from './extent.js';
import { readChild, readNode, readRoot } from './extent-tree.js';
import type { ExtentTree, TreeNode } from './extent-tree.js';
import { EXTENT_BLOCK_MAX, EXTENT_ROOT_MAX } from './layout.js';

/** A node that has fewer entries than this is made one with a neighbour, where both fit. */
const SMALL_NODE = EXTENT_BLOCK_MAX / 4;
/** Nodes are not filled further by joining: the next extent would split them again. */
const JOINED_NODE_MAX = (3 * EXTENT_BLOCK_MAX) / 4;

/** The nodes of one depth that an edit touches, side by side, as one list of entries. */
export interface Level<T> {
  /** Where the nodes lie; empty for the root, which is in the inode. */
  readonly blocks: number[];
  items: T[];
  /** Nothing of the tree lies behind these nodes. */
  readonly isLast: boolean;
}

/** A level of index nodes. */
export interface IndexLevel extends Level<IndexEntry> {
  readonly depth: number;
  /** Items [first, end) point at the nodes of the level below. */
  first: number;
  end: number;
  /** Where what the last item maps ends. */
  readonly to: number;
}

/** Every node on the way to a span. */
export interface TreeLevels {
  /** The root first; none where the root is a leaf. */
  readonly indexes: readonly IndexLevel[];
  readonly leaves: Level<Extent>;
}

/**
 * Reads the nodes of a tree that map a span or may grow by what is put there, and those with
 * the extents right beside it.
 *
 * @throws DaxdError what `mapExtents` throws
 */
export function readLevels(tree: ExtentTree, span: BlockSpan): TreeLevels {
  const wide = { from: Math.max(0, span.from - 1), to: span.to + 1 };
  const indexes: IndexLevel[] = [];
  let nodes: TreeNode[] = [readRoot(tree)];
  let blocks: number[] = [];
  let isLast = true;
  while ((nodes[0]?.depth ?? 0) > 0) {
    const children: TreeNode[] = [];
    const level = readIndexLevel(tree, { nodes, blocks, isLast }, wide, children);
    indexes.push(level);
    isLast = isLast && level.end === level.items.length;
    blocks = level.items.slice(level.first, level.end).map(({ block }) => block);
    nodes = children;
  }
  const items = nodes.flatMap(({ bytes }) => leafExtents(bytes));
  return { indexes, leaves: { blocks, items, isLast } };
}

/** How many tree blocks it takes to write these levels beside those that they have. */
export function missingBlocks({ indexes, leaves }: TreeLevels): number {
  let more = 0;
  let total = 0;
  for (const { blocks, items } of [leaves, ...indexes.toReversed()]) {
    const nodes = blocks.length;
    const room = nodes === 0 ? EXTENT_ROOT_MAX : nodes * EXTENT_BLOCK_MAX;
    if (items.length + more <= room) return total;
    more = Math.ceil((items.length + more) / EXTENT_BLOCK_MAX) - nodes;
    total += more;
  }
  // The root was full: what was in it goes below, until the rest is little enough for a root.
  while (more > EXTENT_ROOT_MAX) {
    more = Math.ceil(more / EXTENT_BLOCK_MAX);
    total += more;
  }
  return total;
}

/** How many entries each node of a level gets; `nodes` is how many there were. */
export function nodeSizes(count: number, nodes: number, isLast: boolean): number[] {
  const needed = Math.ceil(count / EXTENT_BLOCK_MAX);
  const kept = Math.max(needed, Math.min(nodes, Math.ceil(count / JOINED_NODE_MAX)));
  // A file that grows at its end fills one node after the other.
  const isFilled = isLast && kept === needed;
  return Array.from({ length: kept }, (_, i) =>
    isFilled
      ? Math.min(EXTENT_BLOCK_MAX, count - i * EXTENT_BLOCK_MAX)
      : Math.floor((count * (i + 1)) / kept) - Math.floor((count * i) / kept),
  );
}

/** Takes a neighbour into a level that has become small, where both fit into one node. */
export function joinNeighbour<T>(
  tree: ExtentTree,
  parent: IndexLevel,
  level: Level<T>,
  decode: (node: Buffer) => T[],
): void {
  if (level.items.length === 0 || level.items.length >= SMALL_NODE) return;
  const left = neighbour(tree, parent, parent.first - 1);
  if (left !== undefined && fits(left, level)) {
    level.items = [...decode(left.node.bytes), ...level.items];
    level.blocks.unshift(left.block);
    parent.first--;
    return;
  }
  const right = neighbour(tree, parent, parent.end);
  if (right === undefined || !fits(right, level)) return;
  level.items = [...level.items, ...decode(right.node.bytes)];
  level.blocks.push(right.block);
  parent.end++;
}

interface Neighbour {
  readonly block: number;
  readonly node: TreeNode;
}

function neighbour(tree: ExtentTree, parent: IndexLevel, i: number): Neighbour | undefined {
  const entry = parent.items[i];
  if (entry === undefined) return undefined;
  const span = { from: entry.logical, to: parent.items[i + 1]?.logical ?? parent.to };
  return { block: entry.block, node: readNode(tree, entry.block, parent.depth - 1, span) };
}

function fits({ node }: Neighbour, { items }: Level<unknown>): boolean {
  return entryCount(node.bytes) + items.length <= JOINED_NODE_MAX;
}

/** One level of index nodes; the children on the way to the span are added to `children`. */
function readIndexLevel(
  tree: ExtentTree,
  { nodes, blocks, isLast }: { nodes: TreeNode[]; blocks: number[]; isLast: boolean },
  span: BlockSpan,
  children: TreeNode[],
): IndexLevel {
  const items: IndexEntry[] = [];
  let first: number | undefined;
  let end = 0;
  for (const node of nodes) {
    const low = Math.max(0, lastEntryFrom(node.bytes, span.from));
    const high = Math.max(low, lastEntryFrom(node.bytes, span.to - 1));
    first ??= items.length + low;
    end = items.length + high + 1;
    items.push(...indexEntries(node.bytes));
    for (let i = low; i <= high; i++) children.push(readChild(tree, node, i));
  }
  const depth = nodes[0]?.depth ?? 0;
  const to = nodes.at(-1)?.span.to ?? 0;
  return { blocks, items, isLast, depth, first: first ?? 0, end, to };
}
