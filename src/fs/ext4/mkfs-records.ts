import { crc32c, CRC_INIT } from '../../lib/crc32c.js';
import { SECTOR_SIZE } from '../../lib/units.js';
import type { BlockRun } from '../block-run.js';
import { DxHash } from './dx-hash.js';
import { encodeLeaf } from './extent-node.js';
import { Group } from './group.js';
import { encodeWallTime, wallSeconds } from './inode-time.js';
import { sealInode } from './inode.js';
import {
  BLOCK_SIZE,
  CHECKSUM_CRC32C,
  DefaultMountOption,
  EXT4_MAGIC,
  EXTRA_ISIZE,
  FeatureCompat,
  FeatureIncompat,
  FeatureRoCompat,
  FIRST_INODE_MIN,
  FsState,
  GroupFlag,
  I_BLOCK_SIZE,
  InodeField,
  InodeFlag,
  JOURNAL_INODE,
  ROOT_INODE,
  SUPERBLOCK_SIZE,
  SuperField,
  SuperFlag,
} from './layout.js';
import { inodeChecksumSeed } from './checksum.js';
import {
  BLOCKS_PER_GROUP,
  DESCRIPTOR_BYTES,
  INODE_BYTES,
  LOG_GROUPS_PER_FLEX,
} from './mkfs-geometry.js';
import type { GroupPlan, MkfsGeometry } from './mkfs-geometry.js';
import { sealSuperblock } from './superblock.js';

/** The records of a new filesystem as bytes; `mkfs.ts` puts them in place. */

/** Inodes that a new filesystem has in use. */
export const MkfsInode = {
  Root: ROOT_INODE,
  Journal: JOURNAL_INODE,
  LostAndFound: 11,
  OrphanFile: 12,
} as const;

/** As mke2fs sets them. */
const DEFAULT_MOUNT_OPTIONS = DefaultMountOption.UserXattr | DefaultMountOption.Acl;
const ERRORS_CONTINUE = 1;
const REV_DYNAMIC = 1;
const JOURNAL_BACKUP_BLOCKS = 1;
const LOST_AND_FOUND_INODE_FIELD = 0x268;

/** What sets one new filesystem apart from the next. */
export interface MkfsIdentity {
  /** 16 bytes, as s_uuid stores them. */
  readonly uuid: Buffer;
  readonly hashSeed: Buffer;
  /** At most 16 bytes. */
  readonly label: Buffer;
  readonly nowSeconds: number;
}

/** Counters of a group that the descriptor and, summed up, the superblock hold. */
export interface GroupCounts {
  readonly freeBlocks: number;
  readonly freeInodes: number;
  readonly usedDirectories: number;
}

/** What an inode of a new filesystem is; its blocks are one run. */
export interface MkfsInodeRecord {
  readonly number: number;
  readonly mode: number;
  readonly links: number;
  readonly blocks: BlockRun;
}

/** Seed of every metadata checksum but the superblock's own. */
export function filesystemSeed(uuid: Buffer): number {
  return crc32c(CRC_INIT, uuid);
}

/** The superblock of one group's copy, sealed. `journalInode` is the inode's record. */
export function encodeSuperblock(
  geometry: MkfsGeometry,
  identity: MkfsIdentity,
  counts: readonly GroupCounts[],
  { group, journalInode }: { readonly group: number; readonly journalInode: Buffer },
): Buffer {
  const sb = Buffer.alloc(SUPERBLOCK_SIZE);
  const u32 = (value: number, offset: number): number => sb.writeUInt32LE(value, offset);
  encodeGeometry(sb, geometry, counts);
  for (const field of [SuperField.WriteTime, SuperField.LastCheck, SuperField.MkfsTime]) {
    u32(wallSeconds(identity.nowSeconds * 1000), field);
  }
  sb.writeUInt16LE(0xffff, SuperField.MaxMountCount);
  sb.writeUInt16LE(EXT4_MAGIC, SuperField.Magic);
  sb.writeUInt16LE(FsState.Valid, SuperField.State);
  sb.writeUInt16LE(ERRORS_CONTINUE, SuperField.Errors);
  u32(REV_DYNAMIC, SuperField.RevLevel);
  u32(FIRST_INODE_MIN, SuperField.FirstInode);
  sb.writeUInt16LE(INODE_BYTES, SuperField.InodeSize);
  sb.writeUInt16LE(group, SuperField.BlockGroup);
  encodeFeatures(sb);
  sb.set(identity.uuid, SuperField.Uuid);
  sb.set(identity.label, SuperField.VolumeName);
  sb.set(identity.hashSeed, SuperField.HashSeed);
  sb.writeUInt8(DxHash.HalfMd4, SuperField.DefHashVersion);
  u32(SuperFlag.SignedHash, SuperField.Flags);
  u32(DEFAULT_MOUNT_OPTIONS, SuperField.DefaultMountOptions);
  sb.writeUInt16LE(EXTRA_ISIZE, SuperField.MinExtraIsize);
  sb.writeUInt16LE(EXTRA_ISIZE, SuperField.WantExtraIsize);
  sb.writeUInt8(CHECKSUM_CRC32C, SuperField.ChecksumType);
  u32(MkfsInode.LostAndFound, LOST_AND_FOUND_INODE_FIELD);
  u32(MkfsInode.OrphanFile, SuperField.OrphanFileInode);
  encodeJournalReference(sb, journalInode);
  sealSuperblock(sb);
  return sb;
}

/** One group descriptor, sealed. The bitmaps are given as their blocks will be written. */
export function encodeDescriptor(
  group: GroupPlan,
  seed: number,
  counts: GroupCounts,
  bitmaps: {
    readonly blocks: Buffer;
    readonly inodes: Buffer;
    readonly inodesPerGroup: number;
    readonly usedInodes: number;
  },
): Buffer {
  const bytes = Buffer.alloc(DESCRIPTOR_BYTES);
  const desc = new Group(group.number, bytes);
  desc.blockBitmap = group.blockBitmap;
  desc.inodeBitmap = group.inodeBitmap;
  desc.inodeTable = group.inodeTable.start;
  desc.freeBlocks = counts.freeBlocks;
  desc.freeInodes = counts.freeInodes;
  desc.usedDirs = counts.usedDirectories;
  desc.flags = GroupFlag.ItableZeroed;
  desc.itableUnused = bitmaps.inodesPerGroup - bitmaps.usedInodes;
  const inodeBits = bitmaps.inodes.subarray(0, bitmaps.inodesPerGroup / 8);
  desc.setBlockBitmapChecksum(crc32c(seed, bitmaps.blocks.subarray(0, BLOCKS_PER_GROUP / 8)));
  desc.setInodeBitmapChecksum(crc32c(seed, inodeBits));
  desc.seal(seed);
  return bytes;
}

/** One inode, sealed. */
export function encodeInode(record: MkfsInodeRecord, seed: number, nowSeconds: number): Buffer {
  const { number, mode, links, blocks } = record;
  const inode = Buffer.alloc(INODE_BYTES);
  inode.writeUInt16LE(mode, InodeField.Mode);
  inode.writeUInt16LE(links, InodeField.LinksCount);
  inode.writeUInt32LE(blocks.count * BLOCK_SIZE, InodeField.SizeLo);
  inode.writeUInt32LE((blocks.count * BLOCK_SIZE) / SECTOR_SIZE, InodeField.BlocksLo);
  inode.writeUInt32LE(InodeFlag.Extents, InodeField.Flags);
  const now = encodeWallTime(nowSeconds * 1000);
  for (const [seconds, extra] of [
    [InodeField.Atime, InodeField.AtimeExtra],
    [InodeField.Ctime, InodeField.CtimeExtra],
    [InodeField.Mtime, InodeField.MtimeExtra],
    [InodeField.Crtime, InodeField.CrtimeExtra],
  ] as const) {
    inode.writeInt32LE(now.seconds, seconds);
    inode.writeUInt32LE(now.extra, extra);
  }
  inode.writeUInt16LE(EXTRA_ISIZE, InodeField.ExtraIsize);
  encodeExtentRoot(inode.subarray(InodeField.Block, InodeField.Block + I_BLOCK_SIZE), blocks);
  sealInode(inode, inodeChecksumSeed(seed, number, 0));
  return inode;
}

function encodeGeometry(sb: Buffer, geometry: MkfsGeometry, counts: readonly GroupCounts[]): void {
  const freeBlocks = counts.reduce((sum, group) => sum + group.freeBlocks, 0);
  const freeInodes = counts.reduce((sum, group) => sum + group.freeInodes, 0);
  sb.writeUInt32LE(geometry.inodesPerGroup * geometry.groups.length, SuperField.InodesCount);
  sb.writeUInt32LE(geometry.blocks % 2 ** 32, SuperField.BlocksCountLo);
  sb.writeUInt32LE(Math.floor(geometry.blocks / 2 ** 32), SuperField.BlocksCountHi);
  sb.writeUInt32LE(freeBlocks % 2 ** 32, SuperField.FreeBlocksLo);
  sb.writeUInt32LE(Math.floor(freeBlocks / 2 ** 32), SuperField.FreeBlocksHi);
  sb.writeUInt32LE(freeInodes, SuperField.FreeInodes);
  sb.writeUInt32LE(Math.log2(BLOCK_SIZE) - 10, SuperField.LogBlockSize);
  sb.writeUInt32LE(Math.log2(BLOCK_SIZE) - 10, SuperField.LogClusterSize);
  sb.writeUInt32LE(BLOCKS_PER_GROUP, SuperField.BlocksPerGroup);
  sb.writeUInt32LE(BLOCKS_PER_GROUP, SuperField.ClustersPerGroup);
  sb.writeUInt32LE(geometry.inodesPerGroup, SuperField.InodesPerGroup);
  sb.writeUInt16LE(DESCRIPTOR_BYTES, SuperField.DescSize);
  sb.writeUInt8(LOG_GROUPS_PER_FLEX, SuperField.LogGroupsPerFlex);
}

function encodeFeatures(sb: Buffer): void {
  const compat =
    FeatureCompat.HasJournal |
    FeatureCompat.ExtAttr |
    FeatureCompat.DirIndex |
    FeatureCompat.OrphanFile;
  const incompat =
    FeatureIncompat.Filetype |
    FeatureIncompat.Extents |
    FeatureIncompat.Bit64 |
    FeatureIncompat.FlexBg;
  const roCompat =
    FeatureRoCompat.SparseSuper |
    FeatureRoCompat.LargeFile |
    FeatureRoCompat.HugeFile |
    FeatureRoCompat.DirNlink |
    FeatureRoCompat.ExtraIsize |
    FeatureRoCompat.MetadataCsum;
  sb.writeUInt32LE(compat, SuperField.FeatureCompat);
  sb.writeUInt32LE(incompat, SuperField.FeatureIncompat);
  sb.writeUInt32LE(roCompat, SuperField.FeatureRoCompat);
}

/** The superblock keeps a copy of the journal's extents and size, for when its inode is lost. */
function encodeJournalReference(sb: Buffer, journalInode: Buffer): void {
  sb.writeUInt32LE(MkfsInode.Journal, SuperField.JournalInode);
  sb.writeUInt8(JOURNAL_BACKUP_BLOCKS, SuperField.JournalBackupType);
  const tree = journalInode.subarray(InodeField.Block, InodeField.Generation);
  sb.set(tree, SuperField.JournalBlocks);
  const sizeHi = journalInode.readUInt32LE(InodeField.SizeHi);
  const sizeLo = journalInode.readUInt32LE(InodeField.SizeLo);
  sb.writeUInt32LE(sizeHi, SuperField.JournalBlocks + tree.length);
  sb.writeUInt32LE(sizeLo, SuperField.JournalBlocks + tree.length + 4);
}

/** A tree of depth 0 with one written extent: no run of mkfs is longer than one can be. */
function encodeExtentRoot(root: Buffer, { start, count }: BlockRun): void {
  encodeLeaf(root, [{ logical: 0, physical: start, length: count, unwritten: false }]);
}
