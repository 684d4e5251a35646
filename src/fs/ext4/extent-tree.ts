import { DaxdError } from '../../lib/errno.js';
import type { BlockRun } from '../block-run.js';
import { mappedExtents } from './block-map.js';
import { BlockKind, blockRole } from './buffer-cache.js';
import {
  checkHeader,
  checkIndex,
  checkLeaf,
  checkPlace,
  childSpan,
  damagedTree,
  entryChild,
  entryCount,
  entryExtent,
  entryLogical,
  lastEntryFrom,
  verifyNode,
} from './extent-node.js';
import type { NodePlace } from './extent-node.js';
import { clipExtents } from './extent.js';
import type { BlockSpan, Extent } from './extent.js';
import type { Inode } from './inode.js';
import { FILE_BLOCKS_MAX } from './layout.js';
import type { BlockSource } from './transaction.js';
import type { Volume } from './volume.js';

/** What is looked for in a tree. */
export interface MapSpan extends BlockSpan {
  /** The walk ends with this many extents; all by default. */
  readonly max?: number;
}

/** Of a file whose extents are not needed together. */
const EXTENTS_AT_ONCE = 256;

/** A whole file. */
export const WHOLE_FILE: BlockSpan = { from: 0, to: Infinity };

/** The tree of one inode as a source shows it. */
export interface ExtentTree {
  readonly source: BlockSource;
  readonly volume: Volume;
  readonly inode: Inode;
}

/** What a walk collects. */
interface FoundExtents {
  readonly extents: Extent[];
  /** Of all of them. */
  blocks: number;
}

/** A node that was read and found right. */
export interface TreeNode {
  /** To read only. */
  readonly bytes: Buffer;
  /** 0 for a leaf. */
  readonly depth: number;
  /** What it may map. */
  readonly span: BlockSpan;
}

/** The tree of an inode, for the functions below. */
export function treeOf(source: BlockSource, volume: Volume, inode: Inode): ExtentTree {
  return { source, volume, inode };
}

/**
 * The extents of an inode that touch a span, ascending, as the media have them. Only the
 * nodes on the way to the span are read, and every one of them is verified. The walk ends:
 * depth falls with each step, and what a node maps lies within what its index says. Of an inode
 * with a block map, what that names.
 *
 * @throws DaxdError EBADMSG, EUCLEAN
 * @kernel ext4_find_extent (fs/ext4/extents.c)
 */
export function mapExtents(tree: ExtentTree, span: MapSpan = WHOLE_FILE): Extent[] {
  if (tree.inode.hasBlockMap) return mappedExtents(tree, { max: Infinity, ...span });
  const found: FoundExtents = { extents: [], blocks: 0 };
  collect(tree, readRoot(tree), span, found);
  return found.extents;
}

/** As {@link mapExtents}; what reaches out of the span is cut to it. */
export function extentsWithin(tree: ExtentTree, span: BlockSpan): Extent[] {
  return clipExtents(mapExtents(tree, span), span);
}

/**
 * The same one after the other, for who looks at each once: few are in memory at a time.
 *
 * @throws DaxdError as {@link mapExtents} does
 */
export function* eachExtent(
  tree: ExtentTree,
  { from, to }: BlockSpan = WHOLE_FILE,
): Generator<Extent, void, undefined> {
  let blocks = 0;
  for (let next = from; next < to;) {
    const extents = mapExtents(tree, { from: next, to, max: EXTENTS_AT_ONCE });
    for (const extent of extents) {
      blocks += extent.length;
      checkMapped(tree, blocks);
      yield extent;
      next = extent.logical + extent.length;
    }
    if (extents.length < EXTENTS_AT_ONCE) return;
  }
}

/**
 * The last extents of an inode that touch a span, ascending: those of one leaf. None when
 * none does.
 *
 * @throws DaxdError EOPNOTSUPP for an inode with a block map, and as {@link mapExtents} does
 */
export function lastExtents(tree: ExtentTree, span: BlockSpan): Extent[] {
  return lastIn(tree, readRoot(tree), span);
}

/** Refuses to change what an inode maps that has no tree. @throws DaxdError EOPNOTSUPP */
export function assertExtents({ number, hasExtents }: Inode): void {
  if (hasExtents) return;
  throw new DaxdError(
    'EOPNOTSUPP',
    `inode ${number} maps its blocks without extents, as on ext3: it is read and removed, not changed; e2fsck -fy -E bmap2extent on the unmounted filesystem gives it extents`,
  );
}

/** The root of a tree, from the inode. @throws DaxdError EOPNOTSUPP, EUCLEAN */
export function readRoot(tree: ExtentTree): TreeNode {
  const { inode } = tree;
  assertExtents(inode);
  const span = { from: 0, to: FILE_BLOCKS_MAX };
  const place = { inode: inode.number, depth: undefined, span };
  const depth = checkHeader(inode.iBlock, place);
  checkEntries(tree, inode.iBlock, { ...place, depth }, true);
  return { bytes: inode.iBlock, depth, span };
}

/** The node that entry `i` of an index node points at. @throws DaxdError EBADMSG, EUCLEAN */
export function readChild(tree: ExtentTree, parent: TreeNode, i: number): TreeNode {
  const span = childSpan(parent.bytes, i, parent.span);
  return readNode(tree, entryChild(parent.bytes, i), parent.depth - 1, span);
}

/** The node in a tree block, where an index says that it is. @throws DaxdError EBADMSG, EUCLEAN */
export function readNode(
  tree: ExtentTree,
  block: number,
  depth: number,
  span: BlockSpan,
): TreeNode {
  const { source, inode } = tree;
  const bytes = source.block(block);
  const place = { inode: inode.number, depth, span };
  const role = blockRole(BlockKind.ExtentNode, inode.number);
  // Within its own span nothing looks at a node twice; its place is looked at each time.
  checkHeader(bytes, place);
  if (!source.isVerified(block, role)) {
    verifyNode(bytes, inode.checksumSeed, inode.number);
    checkEntries(tree, bytes, place, false);
    source.markVerified(block, role);
  } else {
    checkPlace(bytes, place);
  }
  return { bytes, depth, span };
}

/** A block to put the first data of an inode near to: the start of its group. */
export function goalOf(volume: Volume, { number }: Inode): number {
  const { inodesPerGroup } = volume.superblock;
  return volume.superblock.groupStart(Math.floor((number - 1) / inodesPerGroup));
}

/** No block is mapped twice in a sane tree. @throws DaxdError EUCLEAN */
function checkMapped({ volume, inode }: ExtentTree, blocks: number): void {
  if (blocks <= volume.superblock.blocksCount) return;
  throw damagedTree({ inode: inode.number }, 'it maps more blocks than the filesystem has');
}

function collect(tree: ExtentTree, node: TreeNode, span: MapSpan, found: FoundExtents): void {
  const { bytes, depth } = node;
  const count = entryCount(bytes);
  const { max = Infinity } = span;
  for (let i = Math.max(0, lastEntryFrom(bytes, span.from)); i < count; i++) {
    if (entryLogical(bytes, i) >= span.to || found.extents.length >= max) return;
    if (depth > 0) {
      collect(tree, readChild(tree, node, i), span, found);
    } else {
      const extent = entryExtent(bytes, i);
      if (extent.logical + extent.length <= span.from) continue;
      found.extents.push(extent);
      found.blocks += extent.length;
      checkMapped(tree, found.blocks);
    }
  }
}

function lastIn(tree: ExtentTree, node: TreeNode, span: BlockSpan): Extent[] {
  if (node.depth === 0) {
    const found: FoundExtents = { extents: [], blocks: 0 };
    collect(tree, node, span, found);
    return found.extents;
  }
  const first = Math.max(0, lastEntryFrom(node.bytes, span.from));
  for (let i = lastEntryFrom(node.bytes, span.to - 1); i >= first; i--) {
    const extents = lastIn(tree, readChild(tree, node, i), span);
    if (extents.length > 0) return extents;
  }
  return [];
}

function checkEntries(
  tree: ExtentTree,
  node: Buffer,
  place: NodePlace & { readonly depth: number },
  isRoot: boolean,
): void {
  // The root alone may begin anywhere in its span.
  const own = isRoot ? { ...place, depth: undefined } : place;
  if (place.depth === 0) checkLeaf(node, own);
  else checkIndex(node, own);
  for (let i = 0; i < entryCount(node); i++) {
    if (place.depth > 0) {
      checkBlocks(tree, { start: entryChild(node, i), count: 1 }, place);
    } else {
      const { physical, length } = entryExtent(node, i);
      checkBlocks(tree, { start: physical, count: length }, place);
    }
  }
}

function checkBlocks({ volume }: ExtentTree, { start, count }: BlockRun, place: NodePlace): void {
  const isInside = start > 0 && start + count <= volume.superblock.blocksCount;
  if (!isInside) throw damagedTree(place, `blocks ${start} to ${start + count} do not exist`);
  if (volume.systemZone.overlaps(start, count)) {
    throw damagedTree(
      place,
      `blocks ${start} to ${start + count} belong to the filesystem's tables`,
    );
  }
}
