import { crc32c, CRC_INIT } from '../../lib/crc32c.js';
import { isPowerOf } from '../../lib/units.js';
import { DaxdError } from '../../lib/errno.js';
import { formatUuid, UUID_BYTES } from '../../lib/uuid.js';
import { checksumMismatch, damaged } from '../damage.js';
import {
  BITMAP_BITS,
  BLOCK_SIZE,
  DefaultMountOption,
  EXT4_MAGIC,
  EXTRA_ISIZE,
  FeatureIncompat,
  FeatureRoCompat,
  FIRST_INODE_MIN,
  GOOD_OLD_INODE_SIZE,
  SUPERBLOCK_SIZE,
  SuperField,
} from './layout.js';
import { isSparseSuperGroup } from './sparse-super.js';

const GROUP_DESC_SIZE_OLD = 32;
const GROUP_DESC_SIZE_MIN = 64;
const GROUP_DESC_SIZE_MAX = 1024;

/**
 * The superblock as it stood when the filesystem was opened: geometry, features, names. That of
 * the media goes on without this copy: mount and unmount change it (mount-state.ts), and each new
 * head of the orphan list (orphan-list.ts).
 *
 * @kernel struct ext4_super_block, struct ext4_sb_info (fs/ext4/ext4.h)
 */
export class Superblock {
  /** A private copy of the 1024 bytes. */
  readonly bytes: Buffer;
  readonly blocksCount: number;
  readonly inodesCount: number;
  readonly blocksPerGroup: number;
  /** Bits of a block bitmap: blocks, or with bigalloc clusters. */
  readonly clustersPerGroup: number;
  /** Blocks that one bit of a block bitmap stands for: 1, more with bigalloc. */
  readonly clusterBlocks: number;
  readonly inodesPerGroup: number;
  readonly inodeSize: number;
  readonly descSize: number;
  readonly groupCount: number;
  readonly firstInode: number;
  readonly compat: number;
  readonly incompat: number;
  readonly roCompat: number;
  /** Seed of every checksum but the superblock's own. */
  readonly checksumSeed: number;

  /**
   * Takes a superblock apart; verifies magic and checksum, not yet features and geometry.
   *
   * @param bytes the 1024 bytes at offset 1024 of the partition; copied
   * @throws DaxdError EINVAL when there is no ext4, EBADMSG for the checksum
   */
  constructor(bytes: Uint8Array) {
    const sb = Buffer.from(bytes.subarray(0, SUPERBLOCK_SIZE));
    this.bytes = sb;
    this.compat = sb.readUInt32LE(SuperField.FeatureCompat);
    this.incompat = sb.readUInt32LE(SuperField.FeatureIncompat);
    this.roCompat = sb.readUInt32LE(SuperField.FeatureRoCompat);
    verifySuperblock(sb, this.roCompat);

    const is64 = (this.incompat & FeatureIncompat.Bit64) !== 0;
    this.blocksCount = wide(
      sb,
      SuperField.BlocksCountLo,
      is64 ? SuperField.BlocksCountHi : undefined,
    );
    this.inodesCount = sb.readUInt32LE(SuperField.InodesCount);
    this.blocksPerGroup = sb.readUInt32LE(SuperField.BlocksPerGroup);
    const bigalloc = (this.roCompat & FeatureRoCompat.Bigalloc) !== 0;
    this.clustersPerGroup = bigalloc
      ? sb.readUInt32LE(SuperField.ClustersPerGroup)
      : this.blocksPerGroup;
    this.clusterBlocks = bigalloc
      ? 2 ** (sb.readUInt32LE(SuperField.LogClusterSize) - sb.readUInt32LE(SuperField.LogBlockSize))
      : 1;
    this.inodesPerGroup = sb.readUInt32LE(SuperField.InodesPerGroup);
    this.inodeSize = sb.readUInt16LE(SuperField.InodeSize);
    this.descSize = is64 ? sb.readUInt16LE(SuperField.DescSize) : GROUP_DESC_SIZE_OLD;
    this.groupCount = Math.ceil(this.blocksCount / this.blocksPerGroup);
    this.firstInode = sb.readUInt32LE(SuperField.FirstInode);
    this.checksumSeed =
      (this.incompat & FeatureIncompat.ChecksumSeed) === 0
        ? crc32c(CRC_INIT, sb.subarray(SuperField.Uuid, SuperField.Uuid + UUID_BYTES))
        : sb.readUInt32LE(SuperField.ChecksumSeed);
  }

  /** The volume name; bytes that are not UTF-8 come out as replacement characters. */
  get label(): string {
    const field = this.bytes.subarray(SuperField.VolumeName, SuperField.VolumeName + 16);
    const end = field.indexOf(0);
    return field.toString('utf8', 0, end < 0 ? field.length : end);
  }

  /** In the usual form, such as `2500be98-0529-4248-a91d-331db61bd1d3`. */
  get uuid(): string {
    return formatUuid(this.bytes, SuperField.Uuid);
  }

  /** s_state: see {@link FsState}. */
  get state(): number {
    return this.bytes.readUInt16LE(SuperField.State);
  }

  /** Blocks that are kept for root. */
  get reservedBlocks(): number {
    const is64 = (this.incompat & FeatureIncompat.Bit64) !== 0;
    const high = is64 ? SuperField.ReservedBlocksHi : undefined;
    return wide(this.bytes, SuperField.ReservedBlocksLo, high);
  }

  /** Whether it says that a new inode has the group of its directory, as `tune2fs -o bsdgroups` has it. */
  get hasBsdGroups(): boolean {
    const options = this.bytes.readUInt32LE(SuperField.DefaultMountOptions);
    return (options & DefaultMountOption.BsdGroups) !== 0;
  }

  /** Blocks of one copy of the descriptor table. */
  get gdtBlocks(): number {
    return Math.ceil((this.groupCount * this.descSize) / BLOCK_SIZE);
  }

  /** Blocks behind each copy of the descriptor table that are kept for its growth. */
  get reservedGdtBlocks(): number {
    return this.bytes.readUInt16LE(SuperField.ReservedGdtBlocks);
  }

  /** Blocks of one group's inode table. */
  get inodeTableBlocks(): number {
    return Math.ceil((this.inodesPerGroup * this.inodeSize) / BLOCK_SIZE);
  }

  /** Bytes behind the old inode that new inodes use: what the field says, where that will do. */
  get wantExtraIsize(): number {
    const room = this.inodeSize - GOOD_OLD_INODE_SIZE;
    if (room === 0) return 0;
    const wanted = this.bytes.readUInt16LE(SuperField.WantExtraIsize);
    const isUsable = wanted % 4 === 0 && wanted >= EXTRA_ISIZE && wanted <= room;
    return isUsable ? wanted : EXTRA_ISIZE;
  }

  /** First block of a group. */
  groupStart(group: number): number {
    return group * this.blocksPerGroup;
  }

  /** Blocks of a group: the last one may be short. */
  groupBlocks(group: number): number {
    return Math.min(this.blocksPerGroup, this.blocksCount - this.groupStart(group));
  }

  /** Whether a group begins with a copy of superblock and descriptors. */
  hasSuperCopy(group: number): boolean {
    return (this.roCompat & FeatureRoCompat.SparseSuper) === 0 || isSparseSuperGroup(group);
  }
}

/**
 * Checks that the geometry holds together and fits a partition of `partitionBytes`, so that
 * what is computed from it stays on the partition.
 *
 * @throws DaxdError EUCLEAN naming the field
 * @kernel ext4_check_geometry, ext4_inode_info_init (fs/ext4/super.c)
 */
export function checkGeometry(sb: Superblock, partitionBytes: number): void {
  const rules: readonly (readonly [boolean, string])[] = [
    [sb.blocksCount > 0, `block count ${sb.blocksCount}`],
    [
      sb.blocksCount * BLOCK_SIZE <= partitionBytes,
      `${sb.blocksCount} blocks do not fit a partition of ${partitionBytes} bytes`,
    ],
    [sb.bytes.readUInt32LE(SuperField.FirstDataBlock) === 0, 'first data block is not 0'],
    [isBitCount(sb.clustersPerGroup), `${sb.clustersPerGroup} bitmap bits a group`],
    [
      sb.blocksPerGroup === sb.clustersPerGroup * sb.clusterBlocks,
      `${sb.blocksPerGroup} blocks a group`,
    ],
    [isBitCount(sb.inodesPerGroup), `${sb.inodesPerGroup} inodes a group`],
    [
      isPowerOf(sb.inodeSize, 2) &&
        sb.inodeSize >= GOOD_OLD_INODE_SIZE &&
        sb.inodeSize <= BLOCK_SIZE,
      `inode size ${sb.inodeSize}`,
    ],
    [
      sb.descSize === GROUP_DESC_SIZE_OLD ||
        (isPowerOf(sb.descSize, 2) &&
          sb.descSize >= GROUP_DESC_SIZE_MIN &&
          sb.descSize <= GROUP_DESC_SIZE_MAX),
      `group descriptor size ${sb.descSize}`,
    ],
    [
      sb.groupCount * sb.inodesPerGroup === sb.inodesCount,
      `${sb.inodesCount} inodes in ${sb.groupCount} groups of ${sb.inodesPerGroup}`,
    ],
    [
      1 + sb.gdtBlocks + sb.reservedGdtBlocks <= sb.groupBlocks(0),
      `${sb.gdtBlocks} + ${sb.reservedGdtBlocks} descriptor blocks`,
    ],
    [
      sb.firstInode >= FIRST_INODE_MIN && sb.firstInode <= sb.inodesCount,
      `first inode ${sb.firstInode}`,
    ],
  ];
  const broken = rules.find(([holds]) => !holds);
  if (broken === undefined) return;
  throw damaged(`superblock: ${broken[1]}`);
}

/** Writes the checksum of a superblock. */
export function sealSuperblock(bytes: Buffer): void {
  const sum = crc32c(CRC_INIT, bytes.subarray(0, SuperField.Checksum));
  bytes.writeUInt32LE(sum, SuperField.Checksum);
}

/** Whether 1024 bytes are a superblock with a checksum, and it is right. */
export function isSuperblockWhole(bytes: Buffer): boolean {
  return (
    bytes.readUInt16LE(SuperField.Magic) === EXT4_MAGIC &&
    bytes.readUInt32LE(SuperField.Checksum) ===
      crc32c(CRC_INIT, bytes.subarray(0, SuperField.Checksum))
  );
}

function verifySuperblock(sb: Buffer, roCompat: number): void {
  const magic = sb.readUInt16LE(SuperField.Magic);
  if (magic !== EXT4_MAGIC) {
    throw new DaxdError(
      'EINVAL',
      `superblock: magic 0x${magic.toString(16)} is not ext4's: format the partition first`,
    );
  }
  // Without the feature the field holds nothing; the feature gate then refuses the mount.
  if ((roCompat & FeatureRoCompat.MetadataCsum) === 0) return;
  if (!isSuperblockWhole(sb)) throw checksumMismatch('superblock');
}

/** Two 32-bit halves as one number. */
function wide(bytes: Buffer, lo: number, hi: number | undefined): number {
  return bytes.readUInt32LE(lo) + (hi === undefined ? 0 : bytes.readUInt32LE(hi) * 2 ** 32);
}

/** A count of bits that fills whole bytes of one block. */
function isBitCount(count: number): boolean {
  return count > 0 && count <= BITMAP_BITS && count % 8 === 0;
}
