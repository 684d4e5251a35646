import { checksumMismatch, damaged } from '../damage.js';
import { countClear, findBit, setBits } from './bitmap.js';
import { BlockKind, blockRole } from './buffer-cache.js';
import { crc32c } from './checksum.js';
import { readGroup } from './group.js';
import type { Group } from './group.js';
import { BITMAP_BITS, BLOCK_SIZE, GroupFlag } from './layout.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/**
 * The block bitmap of a group, to read: a set bit is a used block, or no block at all. For a
 * group that was never written to it is made up, since its block holds garbage.
 *
 * @throws DaxdError EBADMSG for its checksum; EUCLEAN when it has the filesystem's own
 *   tables as free, or not as many free blocks as the descriptor says
 * @kernel ext4_read_block_bitmap, ext4_validate_block_bitmap (fs/ext4/balloc.c)
 */
export function readBlockBitmap(source: BlockSource, volume: Volume, number: number): Buffer {
  const group = readGroup(source, volume, number);
  if ((group.flags & GroupFlag.BlockUninit) !== 0) return initialBlockBitmap(volume, number);
  const bits = source.block(group.blockBitmap);
  const role = blockRole(BlockKind.BlockBitmap, number);
  if (source.isVerified(group.blockBitmap, role)) return bits;

  const { stored, mask } = group.blockBitmapChecksum;
  if (stored !== (blockChecksum(volume, bits) & mask) >>> 0) {
    throw checksumMismatch(`block bitmap of group ${number}`);
  }
  checkTablesUsed(volume, number, bits);
  // With bigalloc a bit is a cluster, the last of which may be a part of one.
  const { clusterBlocks } = volume.superblock;
  const freeBlocks = countClear(bits, volume.superblock.groupBlocks(number));
  if (clusterBlocks === 1) checkFree(volume, number, { freeBlocks });
  source.markVerified(group.blockBitmap, role);
  return bits;
}

/**
 * The block bitmap of a group, to change; sealed at the commit, before its descriptor.
 *
 * @param group as `modifyGroup` gives it
 */
export function modifyBlockBitmap(txn: Transaction, volume: Volume, group: Group): Buffer {
  const isUninit = (group.flags & GroupFlag.BlockUninit) !== 0;
  const current = readBlockBitmap(txn, volume, group.number);
  const bits = isUninit ? txn.fresh(group.blockBitmap) : txn.modify(group.blockBitmap);
  if (isUninit) {
    current.copy(bits);
    group.flags &= ~GroupFlag.BlockUninit;
    txn.markVerified(group.blockBitmap, blockRole(BlockKind.BlockBitmap, group.number));
  }
  txn.sealAtCommit(`block bitmap ${group.number}`, () => {
    group.setBlockBitmapChecksum(blockChecksum(volume, bits));
  });
  return bits;
}

/**
 * The inode bitmap of a group, to read: bit n is inode n of the group.
 *
 * @throws DaxdError EBADMSG for its checksum; EUCLEAN when it has not as many free inodes as
 *   the descriptor says
 * @kernel ext4_read_inode_bitmap (fs/ext4/ialloc.c)
 */
export function readInodeBitmap(source: BlockSource, volume: Volume, number: number): Buffer {
  const group = readGroup(source, volume, number);
  if ((group.flags & GroupFlag.InodeUninit) !== 0) return initialInodeBitmap(volume, number);
  const bits = source.block(group.inodeBitmap);
  const role = blockRole(BlockKind.InodeBitmap, number);
  if (source.isVerified(group.inodeBitmap, role)) return bits;

  const { stored, mask } = group.inodeBitmapChecksum;
  if (stored !== (inodeChecksum(volume, bits) & mask) >>> 0) {
    throw checksumMismatch(`inode bitmap of group ${number}`);
  }
  checkFree(volume, number, { freeInodes: countClear(bits, volume.superblock.inodesPerGroup) });
  source.markVerified(group.inodeBitmap, role);
  return bits;
}

/**
 * The inode bitmap of a group, to change; sealed at the commit, before its descriptor. A group
 * whose first inode is taken gets its block bitmap written too, as e2fsck expects it.
 *
 * @param group as `modifyGroup` gives it
 */
export function modifyInodeBitmap(txn: Transaction, volume: Volume, group: Group): Buffer {
  if ((group.flags & GroupFlag.BlockUninit) !== 0) modifyBlockBitmap(txn, volume, group);
  const isUninit = (group.flags & GroupFlag.InodeUninit) !== 0;
  const current = readInodeBitmap(txn, volume, group.number);
  const bits = isUninit ? txn.fresh(group.inodeBitmap) : txn.modify(group.inodeBitmap);
  if (isUninit) {
    current.copy(bits);
    group.flags &= ~GroupFlag.InodeUninit;
    txn.markVerified(group.inodeBitmap, blockRole(BlockKind.InodeBitmap, group.number));
  }
  txn.sealAtCommit(`inode bitmap ${group.number}`, () => {
    group.setInodeBitmapChecksum(inodeChecksum(volume, bits));
  });
  return bits;
}

/** Adds to a group's free blocks (negative: takes), and to the volume's when it commits. */
export function countFreeBlocks(
  txn: Transaction,
  volume: Volume,
  group: Group,
  delta: number,
): void {
  const free = group.freeBlocks + delta;
  if (free < 0 || free > volume.superblock.groupBlocks(group.number)) {
    throw damaged(`group descriptor ${group.number}: ${free} free blocks`);
  }
  group.freeBlocks = free;
  txn.onStored(() => {
    volume.free.blocks += delta;
  });
}

/** Its tables used, and the bits behind its last block set. */
function initialBlockBitmap(volume: Volume, number: number): Buffer {
  const { superblock, systemZone } = volume;
  const start = superblock.groupStart(number);
  const blocks = superblock.groupBlocks(number);
  const bits = Buffer.alloc(BLOCK_SIZE);
  let freeBlocks = blocks;
  for (const run of systemZone.within(start, blocks)) {
    freeBlocks -= setBits(bits, run.start - start, run.count);
  }
  setBits(bits, blocks, BITMAP_BITS - blocks);
  if (superblock.clusterBlocks === 1) checkFree(volume, number, { freeBlocks });
  return bits;
}

function initialInodeBitmap(volume: Volume, number: number): Buffer {
  const { superblock } = volume;
  checkFree(volume, number, { freeInodes: superblock.inodesPerGroup });
  const bits = Buffer.alloc(BLOCK_SIZE);
  setBits(bits, superblock.inodesPerGroup, BITMAP_BITS - superblock.inodesPerGroup);
  return bits;
}

/**
 * Holds a bitmap that is read for the first time, or made up, against the descriptor: one that
 * has what is in use as free would have it handed out again. The descriptor is the volume's,
 * since a transaction may have counted before it comes to the bitmap.
 *
 * @kernel ext4_mb_generate_buddy (fs/ext4/mballoc.c)
 */
function checkFree(
  volume: Volume,
  number: number,
  found: { readonly freeBlocks?: number; readonly freeInodes?: number },
): void {
  const group = readGroup(volume, volume, number);
  const { freeBlocks = group.freeBlocks, freeInodes = group.freeInodes } = found;
  if (freeBlocks === group.freeBlocks && freeInodes === group.freeInodes) return;
  const counts =
    found.freeBlocks === undefined
      ? `inode bitmap of group ${number}: ${freeInodes} inodes are free in it, ${group.freeInodes}`
      : `block bitmap of group ${number}: ${freeBlocks} blocks are free in it, ${group.freeBlocks}`;
  throw damaged(`${counts} by the group's descriptor`);
}

function checkTablesUsed({ superblock, systemZone }: Volume, number: number, bits: Buffer): void {
  // With bigalloc a bit is a cluster; such a filesystem is never written to.
  if (superblock.clusterBlocks !== 1) return;
  const start = superblock.groupStart(number);
  for (const run of systemZone.within(start, superblock.groupBlocks(number))) {
    const end = run.start - start + run.count;
    if (findBit(bits, 0, run.start - start, end) === end) continue;
    throw damaged(`block bitmap of group ${number}: has tables of the filesystem as free`);
  }
}

function blockChecksum({ superblock }: Volume, bits: Buffer): number {
  return crc32c(superblock.checksumSeed, bits.subarray(0, superblock.clustersPerGroup / 8));
}

function inodeChecksum({ superblock }: Volume, bits: Buffer): number {
  return crc32c(superblock.checksumSeed, bits.subarray(0, superblock.inodesPerGroup / 8));
}
