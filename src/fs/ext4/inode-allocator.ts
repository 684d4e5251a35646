import { DaxdError } from '../../lib/errno.js';
import { damaged } from '../damage.js';
import { clearBits, findBit, setBits } from './bitmap.js';
import { modifyInodeBitmap, readBlockBitmap, readInodeBitmap } from './group-bitmaps.js';
import { modifyGroup, readGroup } from './group.js';
import type { Group } from './group.js';
import { wallSeconds } from './inode-time.js';
import { locateInode } from './inode-place.js';
import { makeInode } from './inode.js';
import type { Inode } from './inode.js';
import { GroupFlag, InodeField, ModeType } from './layout.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** What a new inode is for. */
export interface NewInode {
  /** Type and permission bits. */
  readonly mode: number;
  /** Inode of the directory that will name it. */
  readonly parent: number;
}

/**
 * Takes a free inode: near its parent, or for a directory in a group with much room. It has
 * no links yet; the caller fills it and stores it.
 *
 * @throws DaxdError ENOSPC when all inodes are taken, EBADMSG or EUCLEAN when some are left in groups
 *   with damaged bitmaps alone; EUCLEAN for one that is in use although the bitmap says that it is free
 * @kernel __ext4_new_inode (fs/ext4/ialloc.c)
 */
export function allocateInode(txn: Transaction, volume: Volume, { mode, parent }: NewInode): Inode {
  const isDirectory = (mode & ModeType.Mask) === ModeType.Directory;
  const { groupCount, inodesPerGroup } = volume.superblock;
  const home = Math.floor((parent - 1) / inodesPerGroup);
  const first = isDirectory ? roomiestGroup(txn, volume, home) : home;
  for (let i = 0; i < groupCount; i++) {
    const number = (first + i) % groupCount;
    const index = freeIndex(txn, volume, number);
    if (index === undefined) continue;
    const group = modifyGroup(txn, volume, number);
    assertUnused(txn, volume, group, index);
    take(txn, volume, group, { index, isDirectory });
    return makeInode(volume, number * inodesPerGroup + index + 1, mode);
  }
  if (volume.damaged.inodes.damage !== undefined) throw volume.damaged.inodes.damage;
  throw new DaxdError('ENOSPC', `all ${volume.superblock.inodesCount} inodes are taken`);
}

/**
 * Gives an inode back, once its blocks are gone. Stores it as deleted.
 *
 * @kernel ext4_free_inode (fs/ext4/ialloc.c)
 */
export function freeInode(txn: Transaction, volume: Volume, inode: Inode): void {
  const { inodesPerGroup } = volume.superblock;
  const isDirectory = inode.type === 'directory';
  inode.linksCount = 0;
  inode.size = 0;
  inode.dtime = wallSeconds(volume.clock.wallMs());
  inode.touchStatus();
  inode.store(txn);

  const group = modifyGroup(txn, volume, Math.floor((inode.number - 1) / inodesPerGroup));
  const bits = modifyInodeBitmap(txn, volume, group);
  if (clearBits(bits, (inode.number - 1) % inodesPerGroup, 1) !== 1) {
    throw damaged(`inode bitmap of group ${group.number}: inode ${inode.number} is free already`);
  }
  count(txn, volume, group, { inodes: 1, directories: isDirectory ? -1 : 0 });
}

/** Among some groups from the parent's on, the one with most free blocks and inodes enough. */
function roomiestGroup(txn: Transaction, volume: Volume, home: number): number {
  const { groupCount, inodesPerGroup } = volume.superblock;
  let best = home;
  let bestFree = -1;
  for (let i = 0; i < Math.min(groupCount, GROUPS_COMPARED_MAX); i++) {
    const number = (home + i) % groupCount;
    const group = readGroup(txn, volume, number);
    // A group that is short of inodes is left to the files of the directories it has.
    const isRoomy = group.freeInodes >= inodesPerGroup / 4;
    if (isRoomy && group.freeBlocks > bestFree) {
      best = number;
      bestFree = group.freeBlocks;
    }
  }
  return best;
}

/** Bounds the search on a large filesystem; 64 groups are 8 GiB. */
const GROUPS_COMPARED_MAX = 64;

/** Index of a free inode of a group; undefined where there is none, or a bitmap is damaged. */
function freeIndex(txn: Transaction, volume: Volume, number: number): number | undefined {
  const { freeInodes } = readGroup(txn, volume, number);
  if (freeInodes === 0 || !mayHaveInode(txn, volume, number)) return undefined;
  const { firstInode, inodesPerGroup } = volume.superblock;
  const read = (): Buffer => readInodeBitmap(txn, volume, number);
  const bits = volume.damaged.inodes.read(number, freeInodes, read);
  if (bits === undefined) return undefined;
  const from = number === 0 ? firstInode - 1 : 0;
  const index = findBit(bits, 0, from, inodesPerGroup);
  return index < inodesPerGroup ? index : undefined;
}

/** Its first inode writes the block bitmap of a group, too, which may not be what is counted. */
function mayHaveInode(txn: Transaction, volume: Volume, number: number): boolean {
  const { flags, freeBlocks, freeInodes } = readGroup(txn, volume, number);
  if ((flags & GroupFlag.BlockUninit) === 0) return true;
  const { blocks, inodes } = volume.damaged;
  const bits = blocks.read(number, freeBlocks, () => readBlockBitmap(txn, volume, number));
  if (bits === undefined) inodes.leaveOut(number, freeInodes, blocks.damage);
  return bits !== undefined;
}

/**
 * Believes a bitmap only where nothing else says that the inode is a file: whoever took it would
 * take that one's content. What was never used may hold garbage.
 *
 * @throws DaxdError EUCLEAN
 */
function assertUnused(txn: Transaction, volume: Volume, group: Group, index: number): void {
  const { inodesPerGroup } = volume.superblock;
  const number = group.number * inodesPerGroup + index + 1;
  const { blockNumber, offset } = locateInode(volume, number);
  const hasLinks = (): boolean =>
    txn.block(blockNumber).readUInt16LE(offset + InodeField.LinksCount) > 0;
  const mayHaveLinks = index < inodesPerGroup - group.itableUnused;
  if (!volume.openFiles.isNameless(number) && !(mayHaveLinks && hasLinks())) return;
  throw damaged(`inode bitmap of group ${group.number}: inode ${number} is free in it, but in use`);
}

function take(
  txn: Transaction,
  volume: Volume,
  group: Group,
  { index, isDirectory }: { index: number; isDirectory: boolean },
): void {
  const bits = modifyInodeBitmap(txn, volume, group);
  setBits(bits, index, 1);
  initTable(txn, volume, group, index);
  count(txn, volume, group, { inodes: -1, directories: isDirectory ? 1 : 0 });
}

/**
 * Inodes at the end of a table that were never used may hold garbage. Zeroes those that are
 * passed over on the way to `index`, so that whoever reads the table finds unused ones.
 */
function initTable(txn: Transaction, volume: Volume, group: Group, index: number): void {
  const { inodesPerGroup, inodeSize } = volume.superblock;
  const used = Math.max(0, inodesPerGroup - group.itableUnused);
  if (index < used) return;
  for (let skipped = used; skipped <= index; skipped++) {
    const number = group.number * inodesPerGroup + skipped + 1;
    const { blockNumber, offset } = locateInode(volume, number);
    txn.modify(blockNumber).fill(0, offset, offset + inodeSize);
  }
  group.itableUnused = inodesPerGroup - 1 - index;
}

function count(
  txn: Transaction,
  volume: Volume,
  group: Group,
  delta: { inodes: number; directories: number },
): void {
  const freeInodes = group.freeInodes + delta.inodes;
  const usedDirs = group.usedDirs + delta.directories;
  if (freeInodes < 0 || usedDirs < 0 || freeInodes + usedDirs > volume.superblock.inodesPerGroup) {
    throw damaged(
      `group descriptor ${group.number}: ${freeInodes} free inodes, ${usedDirs} directories`,
    );
  }
  group.freeInodes = freeInodes;
  group.usedDirs = usedDirs;
  txn.onStored(() => {
    volume.free.inodes += delta.inodes;
  });
}
