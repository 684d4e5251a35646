import { partitionPoint } from '../../lib/partition-point.js';
import { assert } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import { damaged } from '../damage.js';
import { joinNeighbour, missingBlocks, nodeSizes, readLevels } from './extent-levels.js';
import type { IndexLevel, Level, TreeLevels } from './extent-levels.js';
import {
  damagedTree,
  encodeIndex,
  encodeLeaf,
  entryCount,
  extentLengthMax,
  indexEntries,
  leafExtents,
  leafPieces,
} from './extent-node.js';
import type { IndexEntry } from './extent-node.js';
import { readNode, treeOf } from './extent-tree.js';
import type { ExtentTree } from './extent-tree.js';
import { asOne, clipExtents, countBlocks, goesOn } from './extent.js';
import type { BlockSpan, Extent } from './extent.js';
import type { Inode } from './inode.js';
import { EXTENT_DEPTH_MAX, EXTENT_ROOT_MAX, FeatureRoCompat, FILE_BLOCKS_MAX } from './layout.js';
import type { Transaction } from './transaction.js';
import { TreeBlocks } from './tree-blocks.js';
import type { TreeReserve } from './tree-blocks.js';
import type { Volume } from './volume.js';

/** Without the feature huge_file, i_blocks has 32 bits. */
const SECTORS_MAX_OLD = 2 ** 32 - 1;

/** Which part of which file is mapped anew. */
export interface Splice {
  readonly inode: Inode;
  readonly span: BlockSpan;
  /** Blocks kept for the tree; without, they are taken as they are needed. */
  readonly reserve?: TreeReserve | undefined;
}

/**
 * Maps a span of a file anew: what it has there goes, `replacement` comes, and extents that
 * now lie next to each other become one. Only the nodes on the way to the span change, and a
 * neighbour of one that becomes nearly empty; the tree grows and shrinks with what is in it.
 * Takes and gives back tree blocks, and counts i_blocks. Data blocks are neither taken nor
 * freed here. The caller stores the inode.
 *
 * @param replacement ascending, inside the span
 * @throws DaxdError ENOSPC for tree blocks, EFBIG, and what `mapExtents` throws
 * @kernel ext4_ext_insert_extent, ext4_ext_remove_space (fs/ext4/extents.c)
 */
export function spliceExtents(
  txn: Transaction,
  volume: Volume,
  { inode, span, reserve }: Splice,
  replacement: readonly Extent[],
): void {
  checkReplacement(inode, span, replacement);
  const tree = treeOf(txn, volume, inode);
  const levels = readLevels(tree, span);
  const { leaves } = levels;
  // What the file has in the span is in the leaves that were read, and nowhere else.
  const delta = countBlocks(replacement) - blocksInside(leaves.items, span);
  const near = leaves.blocks.at(-1);
  const blocks = new TreeBlocks({ txn, volume, inode, reserve, near });

  leaves.items = editExtents(leaves.items, span, replacement);
  writeLevels(tree, blocks, levels);
  countInodeBlocks(volume, inode, delta + blocks.delta);
}

/**
 * How many new tree blocks {@link spliceExtents} would take with the same arguments.
 *
 * @throws DaxdError what `mapExtents` throws
 */
export function treeBlocksFor(
  tree: ExtentTree,
  span: BlockSpan,
  replacement: readonly Extent[],
): number {
  const levels = readLevels(tree, span);
  levels.leaves.items = editExtents(levels.leaves.items, span, replacement);
  return missingBlocks(levels);
}

/** Ascending extents with others in place of what they have in a span. */
function editExtents(
  extents: readonly Extent[],
  { from, to }: BlockSpan,
  replacement: readonly Extent[],
): Extent[] {
  const first = firstEndingAfter(extents, from);
  const edited = extents.slice(0, first);
  const begin = extents[first];
  if (begin !== undefined && begin.logical < from) edited.push(cut(begin, { from: 0, to: from }));
  for (const extent of leafPieces(replacement)) pushJoined(edited, extent);
  const last = to === Infinity ? extents.length : firstEndingAfter(extents, to);
  const end = extents[last];
  if (end === undefined) return edited;
  pushJoined(edited, cut(end, { from: to, to: Infinity }));
  for (let i = last + 1; i < extents.length; i++) edited.push(extents[i] ?? end);
  return edited;
}

/** The first of ascending extents that reaches past a block; how many there are if none does. */
function firstEndingAfter(extents: readonly Extent[], block: number): number {
  return partitionPoint(extents, ({ logical, length }) => logical + length <= block);
}

/** Blocks of ascending extents inside a span. */
function blocksInside(extents: readonly Extent[], span: BlockSpan): number {
  const first = firstEndingAfter(extents, span.from);
  const last = span.to === Infinity ? extents.length : firstEndingAfter(extents, span.to) + 1;
  return countBlocks(clipExtents(extents.slice(first, last), span));
}

function cut(extent: Extent, span: BlockSpan): Extent {
  const [part] = clipExtents([extent], span);
  assert(part !== undefined, 'a part of the extent is in the span');
  return part;
}

/** Adds an extent behind others, as a part of the last where one entry can say both. */
function pushJoined(extents: Extent[], extent: Extent): void {
  const last = extents.at(-1);
  const isPart =
    last !== undefined &&
    goesOn(last, extent) &&
    last.length + extent.length <= extentLengthMax(extent.unwritten);
  if (isPart) extents[extents.length - 1] = asOne(last, extent);
  else extents.push(extent);
}

function writeLevels(tree: ExtentTree, blocks: TreeBlocks, levels: TreeLevels): void {
  const { leaves } = levels;
  const indexes = [...levels.indexes];
  let parent = indexes.pop();
  if (parent === undefined) {
    writeRootLeaf(tree, blocks, leaves);
    return;
  }
  joinNeighbour(tree, parent, leaves, leafExtents);
  let children = writeNodes(blocks, leaves, encodeLeaf);
  for (let level = parent; ; level = parent) {
    level.items.splice(level.first, level.end - level.first, ...children);
    parent = indexes.pop();
    if (parent === undefined) {
      writeRootIndex(tree, blocks, level);
      return;
    }
    joinNeighbour(tree, parent, level, indexEntries);
    children = writeNodes(blocks, level, encodeIndexAt(level.depth));
  }
}

/** Writes the nodes of a level, and gives the entries that point at them. */
function writeNodes<T extends { readonly logical: number }>(
  blocks: TreeBlocks,
  { blocks: old, items, isLast }: Level<T>,
  encode: (node: Buffer, items: readonly T[]) => void,
): IndexEntry[] {
  const sizes = nodeSizes(items.length, old.length, isLast);
  let done = 0;
  const entries = sizes.map((size, i) => {
    const own = items.slice(done, done + size);
    done += size;
    const block = blocks.write(old[i], (node) => {
      encode(node, own);
    });
    return { logical: own[0]?.logical ?? 0, block };
  });
  for (const block of old.slice(sizes.length)) blocks.free(block);
  return entries;
}

function encodeIndexAt(depth: number) {
  return (node: Buffer, entries: readonly IndexEntry[]): void => {
    encodeIndex(node, entries, depth);
  };
}

function writeRootLeaf(tree: ExtentTree, blocks: TreeBlocks, leaf: Level<Extent>): void {
  if (leaf.items.length <= EXTENT_ROOT_MAX) {
    encodeLeaf(tree.inode.iBlock, leaf.items);
    return;
  }
  const items = writeNodes(blocks, leaf, encodeLeaf);
  writeRootIndex(tree, blocks, { items, depth: 1 });
}

/** Writes an index as the root; deeper where it does not fit, less deep where what is below does. */
function writeRootIndex(
  tree: ExtentTree,
  blocks: TreeBlocks,
  root: Pick<IndexLevel, 'items' | 'depth'>,
): void {
  const { iBlock } = tree.inode;
  let { items, depth } = root;
  while (items.length > EXTENT_ROOT_MAX) {
    items = writeNodes(blocks, { blocks: [], items, isLast: true }, encodeIndexAt(depth));
    depth++;
  }
  if (depth > EXTENT_DEPTH_MAX) {
    // Five levels hold any file, unless most of their nodes are all but empty.
    throw damaged(
      `inode ${tree.inode.number}: its extent tree has no room for another extent at depth ${EXTENT_DEPTH_MAX}`,
    );
  }
  for (; items.length === 1; depth--) {
    const [only] = items;
    assert(only !== undefined, 'a list of one has one');
    const span = { from: only.logical, to: FILE_BLOCKS_MAX };
    const { bytes } = readNode(tree, only.block, depth - 1, span);
    if (entryCount(bytes) > EXTENT_ROOT_MAX) break;
    if (depth === 1) encodeLeaf(iBlock, leafExtents(bytes));
    else items = indexEntries(bytes);
    blocks.free(only.block);
    if (depth === 1) return;
  }
  if (items.length === 0) encodeLeaf(iBlock, []);
  else encodeIndex(iBlock, items, depth);
}

function checkReplacement(inode: Inode, span: BlockSpan, replacement: readonly Extent[]): void {
  let end = span.from;
  for (const { logical, length } of replacement) {
    assert(logical >= end, 'what is put into a file is in order');
    end = logical + length;
  }
  assert(end <= Math.max(span.from, span.to), 'what is put into a file is inside the span');
  if (end <= FILE_BLOCKS_MAX || replacement.length === 0) return;
  throw new DaxdError('EFBIG', `inode ${inode.number}: a file has at most 16 TiB less 4096 bytes`);
}

function countInodeBlocks(volume: Volume, inode: Inode, delta: number): void {
  const blocks = inode.blocks + delta;
  if (blocks < 0) {
    throw damagedTree(
      { inode: inode.number },
      `it has more blocks than the ${inode.blocks} it counts`,
    );
  }
  inode.blocks = blocks;
  const isHuge = (volume.superblock.roCompat & FeatureRoCompat.HugeFile) !== 0;
  if (!isHuge && inode.sectors > SECTORS_MAX_OLD) {
    throw new DaxdError(
      'EFBIG',
      `inode ${inode.number}: without huge_file a file has at most 2 TiB`,
    );
  }
}
