import { assert } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import { GIB, MIB, roundUp } from '../../lib/units.js';
import type { BlockRun } from '../block-run.js';
import { LOG_BLOCKS_MIN } from '../jbd2/layout.js';
import { BITMAP_BITS, BLOCK_SIZE } from './layout.js';
import { isSparseSuperGroup } from './sparse-super.js';

/**
 * Where everything of a new filesystem goes, as numbers alone: `mkfs.ts` writes what stands
 * here. Bitmaps and inode tables of sixteen groups lie together in the first of them.
 */

export const BLOCKS_PER_GROUP = BITMAP_BITS;
export const DESCRIPTOR_BYTES = 64;
export const INODE_BYTES = 256;
/** log2 of the groups whose metadata lies together. */
export const LOG_GROUPS_PER_FLEX = 4;
const LOST_AND_FOUND_BLOCKS = 4;
const ORPHAN_FILE_BLOCKS = 2;
/** Smallest filesystem: half of it goes to the smallest journal. */
const SIZE_BYTES_MIN = 8 * MIB;

const GROUPS_PER_FLEX = 2 ** LOG_GROUPS_PER_FLEX;
const INODES_PER_BLOCK = BLOCK_SIZE / INODE_BYTES;
const INODES_PER_GROUP_MAX = BLOCKS_PER_GROUP;
/** A last group with less room than this behind its own metadata is not worth having. */
const LAST_GROUP_BLOCKS_MIN = 64;
/** Blocks from which the journal has so many blocks, smallest first. */
const JOURNAL_BLOCKS = [
  { from: 0, journal: LOG_BLOCKS_MIN },
  { from: (128 * MIB) / BLOCK_SIZE, journal: 4096 },
  { from: GIB / BLOCK_SIZE, journal: 8192 },
  { from: (2 * GIB) / BLOCK_SIZE, journal: 16384 },
] as const;

/** One group: where it lies, and where its metadata lies (mostly in another group). */
export interface GroupPlan {
  readonly number: number;
  readonly blocks: BlockRun;
  /** Superblock and descriptors, where this group has a copy; empty elsewhere. */
  readonly superCopy: BlockRun;
  readonly blockBitmap: number;
  readonly inodeBitmap: number;
  readonly inodeTable: BlockRun;
}

/** A whole filesystem. */
export interface MkfsGeometry {
  readonly blocks: number;
  readonly inodesPerGroup: number;
  readonly groups: readonly GroupPlan[];
  readonly rootDirectory: BlockRun;
  readonly lostAndFound: BlockRun;
  readonly orphanFile: BlockRun;
  readonly journal: BlockRun;
}

/**
 * Plans a filesystem for a partition.
 *
 * @throws DaxdError EINVAL when it is under 8 MiB
 */
export function planMkfs(sizeBytes: number): MkfsGeometry {
  if (sizeBytes < SIZE_BYTES_MIN) {
    throw new DaxdError(
      'EINVAL',
      `${sizeBytes} bytes are too few for ext4 with a journal: give at least ${SIZE_BYTES_MIN}`,
    );
  }
  const { blocks, inodesPerGroup } = planSize(Math.floor(sizeBytes / BLOCK_SIZE));
  const groups = planGroups(blocks, inodesPerGroup);

  const first = groups[0];
  assert(first !== undefined, 'a filesystem has a group');
  const metadataEnd = flexMetadataEnd(groups);
  let next = metadataEnd;
  const take = (count: number): BlockRun => {
    const run = { start: next, count };
    next += count;
    return run;
  };
  const geometry = {
    blocks,
    inodesPerGroup,
    groups,
    rootDirectory: take(1),
    lostAndFound: take(LOST_AND_FOUND_BLOCKS),
    orphanFile: take(ORPHAN_FILE_BLOCKS),
    journal: take(journalBlocks(blocks)),
  };
  assert(next <= first.blocks.count, 'journal and first directories fit the first group');
  return geometry;
}

/** Drops a last group that is nearly all metadata, and counts inodes for what is left. */
function planSize(available: number): { blocks: number; inodesPerGroup: number } {
  let blocks = available;
  const groupCount = Math.ceil(blocks / BLOCKS_PER_GROUP);
  const inodesPerGroup = inodesFor(blocks, groupCount);
  const last = groupCount - 1;
  const lastBlocks = blocks - last * BLOCKS_PER_GROUP;
  const overhead = superCopyBlocks(last, groupCount) + 2 + inodesPerGroup / INODES_PER_BLOCK;
  if (last > 0 && lastBlocks < overhead + LAST_GROUP_BLOCKS_MIN) blocks -= lastBlocks;
  return { blocks, inodesPerGroup };
}

function inodesFor(blocks: number, groupCount: number): number {
  const bytesPerInode = blocks * BLOCK_SIZE < 512 * MIB ? 8192 : 16384;
  const wanted = Math.ceil((blocks * BLOCK_SIZE) / bytesPerInode / groupCount);
  return Math.min(INODES_PER_GROUP_MAX, roundUp(wanted, INODES_PER_BLOCK));
}

function planGroups(blocks: number, inodesPerGroup: number): GroupPlan[] {
  const groupCount = Math.ceil(blocks / BLOCKS_PER_GROUP);
  const tableBlocks = inodesPerGroup / INODES_PER_BLOCK;
  return Array.from({ length: groupCount }, (_, number) => {
    const start = number * BLOCKS_PER_GROUP;
    const leader = number - (number % GROUPS_PER_FLEX);
    const member = number - leader;
    const members = Math.min(GROUPS_PER_FLEX, groupCount - leader);
    const base = leader * BLOCKS_PER_GROUP + superCopyBlocks(leader, groupCount);
    return {
      number,
      blocks: { start, count: Math.min(BLOCKS_PER_GROUP, blocks - start) },
      superCopy: { start, count: superCopyBlocks(number, groupCount) },
      blockBitmap: base + member,
      inodeBitmap: base + members + member,
      inodeTable: { start: base + 2 * members + member * tableBlocks, count: tableBlocks },
    };
  });
}

function flexMetadataEnd(groups: readonly GroupPlan[]): number {
  const { inodeTable } = groups[Math.min(groups.length, GROUPS_PER_FLEX) - 1] ?? {};
  assert(inodeTable !== undefined, 'a filesystem has a group');
  return inodeTable.start + inodeTable.count;
}

function superCopyBlocks(group: number, groupCount: number): number {
  return isSparseSuperGroup(group)
    ? 1 + Math.ceil((groupCount * DESCRIPTOR_BYTES) / BLOCK_SIZE)
    : 0;
}

function journalBlocks(blocks: number): number {
  const row = JOURNAL_BLOCKS.findLast(({ from }) => blocks >= from);
  assert(row !== undefined, 'the first row of the table starts at zero');
  return row.journal;
}
