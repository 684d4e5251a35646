import { assert } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import { allocateBlocks, freeBlocks, METADATA } from './allocator.js';
import {
  checkHeader,
  damaged,
  encodeIndex,
  encodeLeaf,
  indexEntries,
  leafExtents,
  leafPieces,
  sealNode,
  verifyNode,
} from './extent-node.js';
import type { IndexEntry, NodePlace } from './extent-node.js';
import { countBlocks, joinExtents } from './extent.js';
import type { BlockSpan, Extent } from './extent.js';
import type { Inode } from './inode.js';
import {
  BLOCK_SIZE,
  EXTENT_BLOCK_MAX,
  EXTENT_DEPTH_MAX,
  EXTENT_ROOT_MAX,
  FeatureRoCompat,
  FILE_BLOCKS_MAX,
} from './layout.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

export type { Extent } from './extent.js';

const WHOLE_FILE: BlockSpan = { from: 0, to: Infinity };
/** Without the feature huge_file, i_blocks has 32 bits. */
const SECTORS_MAX_OLD = 2 ** 32 - 1;

/**
 * The extents of an inode that touch a span, ascending, as the media have them. Only the
 * nodes on the way to the span are read, and every one of them is verified. The walk ends:
 * depth falls with each step, and what a node maps lies within what its index says.
 *
 * @throws DaxdError EOPNOTSUPP for an inode with a block map, EBADMSG, EUCLEAN
 * @kernel ext4_find_extent (fs/ext4/extents.c)
 */
export function mapExtents(
  source: BlockSource,
  volume: Volume,
  inode: Inode,
  span: BlockSpan = WHOLE_FILE,
): Extent[] {
  const walk: Walk = { source, volume, inode, span, extents: [], treeBlocks: [] };
  walkTree(walk);
  return walk.extents;
}

/**
 * Gives an inode these extents instead of those it has: joins neighbours, rebuilds the tree,
 * takes and gives back tree blocks, counts i_blocks. Data blocks are neither taken nor freed
 * here. The caller stores the inode.
 *
 * @throws DaxdError ENOSPC for tree blocks, EFBIG, and what {@link mapExtents} throws
 */
export function replaceExtents(
  txn: Transaction,
  volume: Volume,
  inode: Inode,
  extents: readonly Extent[],
): void {
  const joined = joinExtents(extents);
  const last = joined.at(-1);
  if (last !== undefined && last.logical + last.length > FILE_BLOCKS_MAX) {
    throw new DaxdError(
      'EFBIG',
      `inode ${inode.number}: a file has at most 16 TiB less 4096 bytes`,
    );
  }
  const tree = new TreeBlocks(txn, volume, inode, joined[0]?.physical);
  writeTree(tree, inode, leafPieces(joined));
  tree.freeUnused();
  countInodeBlocks(volume, inode, countBlocks(joined) + tree.used);
}

/**
 * Adds one block to the end of a directory, whose size grows by it, and gives its physical
 * number. Nothing is written to it. The caller stores the inode.
 *
 * @throws DaxdError ENOSPC
 */
export function appendBlock(txn: Transaction, volume: Volume, inode: Inode): number {
  const logical = inode.size / BLOCK_SIZE;
  const extents = mapExtents(txn, volume, inode);
  const last = extents.at(-1);
  const end = last === undefined ? 0 : last.logical + last.length;
  if (end !== logical)
    damaged({ inode: inode.number }, `it maps ${end} blocks, its size ${logical}`);
  const goal = last === undefined ? goalOf(volume, inode) : last.physical + last.length;
  const { start } = allocateBlocks(txn, volume, { goal, count: 1 });
  replaceExtents(txn, volume, inode, [
    ...extents,
    { logical, physical: start, length: 1, unwritten: false },
  ]);
  inode.size += BLOCK_SIZE;
  return start;
}

/** A block to put the first data of an inode near to: the start of its group. */
export function goalOf(volume: Volume, { number }: Inode): number {
  const { inodesPerGroup } = volume.superblock;
  return volume.superblock.groupStart(Math.floor((number - 1) / inodesPerGroup));
}

interface Walk {
  readonly source: BlockSource;
  readonly volume: Volume;
  readonly inode: Inode;
  readonly span: BlockSpan;
  readonly extents: Extent[];
  readonly treeBlocks: number[];
}

function walkTree(walk: Walk): void {
  const { inode } = walk;
  if (!inode.hasExtents) {
    throw new DaxdError('EOPNOTSUPP', `inode ${inode.number} maps its blocks without extents`);
  }
  const span = { from: 0, to: FILE_BLOCKS_MAX };
  walkNode(walk, inode.iBlock, { inode: inode.number, depth: undefined, span });
}

function walkNode(walk: Walk, node: Buffer, place: NodePlace): void {
  const depth = checkHeader(node, place);
  if (depth === 0) {
    takeExtents(walk, leafExtents(node, place), place);
    return;
  }
  for (const child of indexEntries(node, place)) {
    if (child.span.from >= walk.span.to || child.span.to <= walk.span.from) continue;
    checkBlocks(walk, { start: child.block, count: 1 }, place);
    const block = walk.source.block(child.block);
    const childPlace = { inode: place.inode, depth: depth - 1, span: child.span };
    checkHeader(block, childPlace);
    verifyNode(block, walk.inode.checksumSeed, place.inode);
    walk.treeBlocks.push(child.block);
    walkNode(walk, block, childPlace);
  }
}

function takeExtents(walk: Walk, extents: readonly Extent[], place: NodePlace): void {
  for (const extent of extents) {
    checkBlocks(walk, { start: extent.physical, count: extent.length }, place);
    const isWanted =
      extent.logical < walk.span.to && extent.logical + extent.length > walk.span.from;
    if (isWanted) walk.extents.push(extent);
  }
}

function checkBlocks(
  { volume }: Walk,
  { start, count }: { start: number; count: number },
  place: NodePlace,
): void {
  const isInside = start > 0 && start + count <= volume.superblock.blocksCount;
  if (!isInside) damaged(place, `blocks ${start} to ${start + count} do not exist`);
  if (volume.systemZone.overlaps(start, count)) {
    damaged(place, `blocks ${start} to ${start + count} belong to the filesystem's tables`);
  }
}

/** The blocks of one inode's tree while it is rebuilt: the old ones first, then new ones. */
class TreeBlocks {
  used = 0;
  readonly #txn: Transaction;
  readonly #volume: Volume;
  readonly #inode: Inode;
  readonly #old: readonly number[];
  #goal: number;

  constructor(txn: Transaction, volume: Volume, inode: Inode, goal: number | undefined) {
    const walk: Walk = {
      source: txn,
      volume,
      inode,
      span: WHOLE_FILE,
      extents: [],
      treeBlocks: [],
    };
    walkTree(walk);
    this.#txn = txn;
    this.#volume = volume;
    this.#inode = inode;
    this.#old = walk.treeBlocks;
    this.#goal = this.#old.at(-1) ?? goal ?? goalOf(volume, inode);
  }

  /** Has `encode` fill a tree block, seals it, and gives its number. */
  write(encode: (node: Buffer) => void): number {
    const old = this.#old[this.used++];
    const block = old ?? this.#allocate();
    const node = old === undefined ? this.#txn.fresh(block) : this.#txn.modify(block);
    encode(node);
    sealNode(node, this.#inode.checksumSeed);
    return block;
  }

  freeUnused(): void {
    for (const start of this.#old.slice(this.used)) {
      freeBlocks(this.#txn, this.#volume, { start, count: 1 }, METADATA);
    }
  }

  #allocate(): number {
    this.#goal = allocateBlocks(this.#txn, this.#volume, { goal: this.#goal, count: 1 }).start;
    return this.#goal;
  }
}

function writeTree(tree: TreeBlocks, inode: Inode, pieces: readonly Extent[]): void {
  if (pieces.length <= EXTENT_ROOT_MAX) {
    encodeLeaf(inode.iBlock, pieces);
    return;
  }
  let depth = 1;
  let level: IndexEntry[] = inNodes(pieces).map((leaf) => ({
    logical: leaf[0]?.logical ?? 0,
    block: tree.write((node) => {
      encodeLeaf(node, leaf);
    }),
  }));
  for (; level.length > EXTENT_ROOT_MAX; depth++) {
    level = inNodes(level).map((children) => ({
      logical: children[0]?.logical ?? 0,
      block: tree.write((node) => {
        encodeIndex(node, children, depth);
      }),
    }));
  }
  assert(depth <= EXTENT_DEPTH_MAX, 'five levels hold any file');
  encodeIndex(inode.iBlock, level, depth);
}

/** Cuts a list into what one tree block holds. */
function inNodes<T>(entries: readonly T[]): T[][] {
  const nodes: T[][] = [];
  for (let i = 0; i < entries.length; i += EXTENT_BLOCK_MAX) {
    nodes.push(entries.slice(i, i + EXTENT_BLOCK_MAX));
  }
  return nodes;
}

function countInodeBlocks(volume: Volume, inode: Inode, dataAndTree: number): void {
  inode.blocks = dataAndTree + (inode.fileAcl === 0 ? 0 : 1);
  const isHuge = (volume.superblock.roCompat & FeatureRoCompat.HugeFile) !== 0;
  if (!isHuge && inode.sectors > SECTORS_MAX_OLD) {
    throw new DaxdError(
      'EFBIG',
      `inode ${inode.number}: without huge_file a file has at most 2 TiB`,
    );
  }
}
