import { crc32c } from '../../lib/crc32c.js';
import { checksumMismatch, damaged } from '../damage.js';
import { countClear, findBit, setBits } from './bitmap.js';
import { BlockKind, blockRole } from './buffer-cache.js';
import { readGroup } from './group.js';
import type { Group } from './group.js';
import { BITMAP_BITS, BLOCK_SIZE, GroupFlag } from './layout.js';
import type { Superblock } from './superblock.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** What tells the bitmaps of blocks from those of inodes. */
interface BitmapKind {
  /** For messages, and for the key of the seal. */
  readonly name: string;
  readonly units: string;
  readonly role: BlockKind;
  /** The bit of {@link GroupFlag} that says that the bitmap was never written. */
  readonly uninit: number;
  /** Where the bitmap of a group lies. */
  readonly blockOf: (group: Group) => number;
  /** The stored checksum, and the bits of it that there are. */
  readonly checksumOf: (group: Group) => { readonly stored: number; readonly mask: number };
  readonly setChecksum: (group: Group, checksum: number) => void;
  /** Bits that the checksum covers: a multiple of 8. */
  readonly sealedBits: (superblock: Superblock) => number;
  /** How many are free by the descriptor. */
  readonly freeOf: (group: Group) => number;
  /** What a bitmap that was never written says. */
  readonly initial: (volume: Volume, number: number) => Buffer;
  /** Refuses one that was read, with a right checksum, for what it says. */
  readonly check: (volume: Volume, number: number, bits: Buffer) => void;
}

const BLOCKS: BitmapKind = {
  name: 'block bitmap',
  units: 'blocks',
  role: BlockKind.BlockBitmap,
  uninit: GroupFlag.BlockUninit,
  blockOf: (group) => group.blockBitmap,
  checksumOf: (group) => group.blockBitmapChecksum,
  setChecksum: (group, checksum) => {
    group.setBlockBitmapChecksum(checksum);
  },
  sealedBits: ({ clustersPerGroup }) => clustersPerGroup,
  freeOf: (group) => group.freeBlocks,
  initial: initialBlockBitmap,
  check: checkBlockBitmap,
};

const INODES: BitmapKind = {
  name: 'inode bitmap',
  units: 'inodes',
  role: BlockKind.InodeBitmap,
  uninit: GroupFlag.InodeUninit,
  blockOf: (group) => group.inodeBitmap,
  checksumOf: (group) => group.inodeBitmapChecksum,
  setChecksum: (group, checksum) => {
    group.setInodeBitmapChecksum(checksum);
  },
  sealedBits: ({ inodesPerGroup }) => inodesPerGroup,
  freeOf: (group) => group.freeInodes,
  initial: initialInodeBitmap,
  check: (volume, number, bits) => {
    checkFree(INODES, volume, number, countClear(bits, volume.superblock.inodesPerGroup));
  },
};

/**
 * The block bitmap of a group, to read: a set bit is a used block, or no block at all. For a
 * group that was never written to it is made up, since its block holds garbage.
 *
 * @throws DaxdError EBADMSG for its checksum; EUCLEAN when it has the filesystem's own
 *   tables as free, or not as many free blocks as the descriptor says
 * @kernel ext4_read_block_bitmap, ext4_validate_block_bitmap (fs/ext4/balloc.c)
 */
export function readBlockBitmap(source: BlockSource, volume: Volume, number: number): Buffer {
  return readBitmap(BLOCKS, source, volume, number);
}

/**
 * The block bitmap of a group, to change; sealed at the commit, before its descriptor.
 *
 * @param group as `modifyGroup` gives it
 * @throws DaxdError as {@link readBlockBitmap} does
 */
export function modifyBlockBitmap(txn: Transaction, volume: Volume, group: Group): Buffer {
  return modifyBitmap(BLOCKS, txn, volume, group);
}

/**
 * The inode bitmap of a group, to read: bit n is inode n of the group.
 *
 * @throws DaxdError EBADMSG for its checksum; EUCLEAN when it has not as many free inodes as
 *   the descriptor says
 * @kernel ext4_read_inode_bitmap (fs/ext4/ialloc.c)
 */
export function readInodeBitmap(source: BlockSource, volume: Volume, number: number): Buffer {
  return readBitmap(INODES, source, volume, number);
}

/**
 * The inode bitmap of a group, to change; sealed at the commit, before its descriptor. A group
 * whose first inode is taken gets its block bitmap written too, as e2fsck expects it.
 *
 * @param group as `modifyGroup` gives it
 * @throws DaxdError as {@link readInodeBitmap} and {@link readBlockBitmap} do
 */
export function modifyInodeBitmap(txn: Transaction, volume: Volume, group: Group): Buffer {
  if ((group.flags & GroupFlag.BlockUninit) !== 0) modifyBlockBitmap(txn, volume, group);
  return modifyBitmap(INODES, txn, volume, group);
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

function readBitmap(kind: BitmapKind, source: BlockSource, volume: Volume, number: number): Buffer {
  const group = readGroup(source, volume, number);
  if ((group.flags & kind.uninit) !== 0) return kind.initial(volume, number);
  const block = kind.blockOf(group);
  const bits = source.block(block);
  const role = blockRole(kind.role, number);
  if (source.isVerified(block, role)) return bits;

  const { stored, mask } = kind.checksumOf(group);
  if (stored !== (compute(kind, volume, bits) & mask) >>> 0) {
    throw checksumMismatch(`${kind.name} of group ${number}`);
  }
  kind.check(volume, number, bits);
  source.markVerified(block, role);
  return bits;
}

function modifyBitmap(kind: BitmapKind, txn: Transaction, volume: Volume, group: Group): Buffer {
  const isUninit = (group.flags & kind.uninit) !== 0;
  const current = readBitmap(kind, txn, volume, group.number);
  const block = kind.blockOf(group);
  const bits = isUninit ? txn.fresh(block) : txn.modify(block);
  if (isUninit) {
    current.copy(bits);
    group.flags &= ~kind.uninit;
    txn.markVerified(block, blockRole(kind.role, group.number));
  }
  txn.sealAtCommit(`${kind.name} ${group.number}`, () => {
    kind.setChecksum(group, compute(kind, volume, bits));
  });
  return bits;
}

function compute(kind: BitmapKind, { superblock }: Volume, bits: Buffer): number {
  return crc32c(superblock.checksumSeed, bits.subarray(0, kind.sealedBits(superblock) / 8));
}

/** Its tables used, and the bits behind its last block set. */
function initialBlockBitmap(volume: Volume, number: number): Buffer {
  const { superblock, systemZone } = volume;
  const start = superblock.groupStart(number);
  const blocks = superblock.groupBlocks(number);
  const bits = Buffer.alloc(BLOCK_SIZE);
  let free = blocks;
  for (const run of systemZone.within(start, blocks)) {
    free -= setBits(bits, run.start - start, run.count);
  }
  setBits(bits, blocks, BITMAP_BITS - blocks);
  if (superblock.clusterBlocks === 1) checkFree(BLOCKS, volume, number, free);
  return bits;
}

function initialInodeBitmap(volume: Volume, number: number): Buffer {
  const { inodesPerGroup } = volume.superblock;
  checkFree(INODES, volume, number, inodesPerGroup);
  const bits = Buffer.alloc(BLOCK_SIZE);
  setBits(bits, inodesPerGroup, BITMAP_BITS - inodesPerGroup);
  return bits;
}

function checkBlockBitmap(volume: Volume, number: number, bits: Buffer): void {
  const { superblock, systemZone } = volume;
  // With bigalloc a bit is a cluster, the last of which may be a part of one; such a filesystem
  // is never written to.
  if (superblock.clusterBlocks !== 1) return;
  const start = superblock.groupStart(number);
  const blocks = superblock.groupBlocks(number);
  for (const run of systemZone.within(start, blocks)) {
    const end = run.start - start + run.count;
    if (findBit(bits, 0, run.start - start, end) === end) continue;
    throw damaged(`block bitmap of group ${number}: has tables of the filesystem as free`);
  }
  checkFree(BLOCKS, volume, number, countClear(bits, blocks));
}

/**
 * Holds a bitmap that is read for the first time, or made up, against the descriptor: one that
 * has what is in use as free would have it handed out again. The descriptor is the volume's,
 * since a transaction may have counted before it comes to the bitmap.
 *
 * @kernel ext4_mb_generate_buddy (fs/ext4/mballoc.c)
 */
function checkFree(kind: BitmapKind, volume: Volume, number: number, found: number): void {
  const counted = kind.freeOf(readGroup(volume, volume, number));
  if (found === counted) return;
  throw damaged(
    `${kind.name} of group ${number}: ${found} ${kind.units} are free in it, ${counted} by the group's descriptor`,
  );
}
