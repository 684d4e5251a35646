import { formatUuid } from '../../lib/uuid.js';
import type { BackingRange } from '../../media/backing-range.js';
import {
  EXT4_MAGIC,
  FeatureCompat,
  FeatureIncompat,
  FeatureRoCompat,
  SUPERBLOCK_OFFSET,
  SUPERBLOCK_SIZE,
  SuperField,
} from './layout.js';

/** What a partition looks like from outside, without mounting it. */
export interface ProbedFilesystem {
  /** The name that blkid uses: `ext4`, `xfs`, `swap`. */
  readonly type: string;
  /** Empty where there is none, or where daxd does not read that format's. */
  readonly label: string;
  readonly uuid: string;
  /** Of ext2 to ext4 only. */
  readonly totalBytes: number | undefined;
  readonly freeBytes: number | undefined;
  /** When the superblock was written last, in seconds since the epoch; of ext2 to ext4 only. */
  readonly writtenSeconds: number | undefined;
}

/** Bytes that give a format away. */
interface Signature {
  readonly type: string;
  readonly offset: number;
  readonly bytes: Buffer;
}

function ascii(type: string, offset: number, text: string): Signature {
  return { type, offset, bytes: Buffer.from(text, 'latin1') };
}

/** In the order of trust: formats with long magics before those with short ones. */
const SIGNATURES: readonly Signature[] = [
  ascii('xfs', 0, 'XFSB'),
  ascii('btrfs', 65536 + 64, '_BHRfS_M'),
  ascii('crypto_LUKS', 0, 'LUKS\xba\xbe'),
  ...[0, 512, 1024, 1536].map((offset) => ascii('LVM2_member', offset, 'LABELONE')),
  ascii('linux_raid_member', 0, '\xfc\x4e\x2b\xa9'),
  ascii('linux_raid_member', 4096, '\xfc\x4e\x2b\xa9'),
  // The swap signature ends the first page of the machine that made it.
  ...[4096, 8192, 16384, 65536].flatMap((page) => [
    ascii('swap', page - 10, 'SWAPSPACE2'),
    ascii('swap', page - 10, 'SWAP-SPACE'),
  ]),
  ascii('f2fs', 1024, '\x10\x20\xf5\xf2'),
  ascii('erofs', 1024, '\xe2\xe1\xf5\xe0'),
  ascii('squashfs', 0, 'hsqs'),
  ascii('iso9660', 32769, 'CD001'),
  ascii('reiserfs', 65536 + 52, 'ReIsEr'),
  ascii('jfs', 32768, 'JFS1'),
  ascii('bcache', 4096 + 24, '\xc6\x85\x73\xf6\x4e\x1a\x45\xca'),
  ascii('BTT', 4096, 'BTT_ARENA_INFO'),
  ascii('BTT', 0, 'BTT_ARENA_INFO'),
  ascii('nvdimm_pfn', 4096, 'NVDIMM_PFN_INFO'),
  ascii('nvdimm_dax', 4096, 'NVDIMM_DAX_INFO'),
  ascii('gpt', 512, 'EFI PART'),
  ascii('ntfs', 3, 'NTFS    '),
  ascii('exfat', 3, 'EXFAT   '),
  ascii('vfat', 82, 'FAT32   '),
  ascii('vfat', 54, 'FAT16   '),
  ascii('vfat', 54, 'FAT12   '),
];

/**
 * Looks for a known format on a partition. Reads a few hundred bytes, verifies no checksum and
 * stores nothing, so the answer is for listings and for a warning before formatting: whether
 * an ext4 can be mounted, only the mount says.
 *
 * @throws DaxdError EIO when the media cannot be read.
 */
export function probeSuperblock(range: BackingRange): ProbedFilesystem | undefined {
  const ext = probeExt(range);
  if (ext !== undefined) return ext;
  const found = SIGNATURES.find(
    ({ offset, bytes }) => readBytes(range, offset, bytes.length)?.equals(bytes) === true,
  );
  if (found === undefined) return undefined;
  return {
    type: found.type,
    label: '',
    uuid: '',
    totalBytes: undefined,
    freeBytes: undefined,
    writtenSeconds: undefined,
  };
}

function probeExt(range: BackingRange): ProbedFilesystem | undefined {
  const sb = readBytes(range, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE);
  if (sb?.readUInt16LE(SuperField.Magic) !== EXT4_MAGIC) return undefined;
  const blockBytes = 1024 * 2 ** (sb.readUInt32LE(SuperField.LogBlockSize) % 32);
  const wide = (lo: number, hi: number): number => {
    const is64 = (sb.readUInt32LE(SuperField.FeatureIncompat) & FeatureIncompat.Bit64) !== 0;
    return blockBytes * (sb.readUInt32LE(lo) + (is64 ? sb.readUInt32LE(hi) * 2 ** 32 : 0));
  };
  const [label = ''] = sb
    .toString('utf8', SuperField.VolumeName, SuperField.VolumeName + 16)
    .split('\0');
  return {
    type: extType(sb),
    label,
    uuid: formatUuid(sb, SuperField.Uuid),
    totalBytes: wide(SuperField.BlocksCountLo, SuperField.BlocksCountHi),
    freeBytes: wide(SuperField.FreeBlocksLo, SuperField.FreeBlocksHi),
    writtenSeconds: sb.readUInt32LE(SuperField.WriteTime),
  };
}

/** Features decide which of the family it is, as blkid tells them apart. */
function extType(sb: Buffer): string {
  const incompat = sb.readUInt32LE(SuperField.FeatureIncompat);
  const roCompat = sb.readUInt32LE(SuperField.FeatureRoCompat);
  if ((incompat & JOURNAL_DEVICE) !== 0) return 'jbd';
  const ext3Incompat = FeatureIncompat.Filetype | FeatureIncompat.Recover | META_BG;
  const ext3RoCompat = FeatureRoCompat.SparseSuper | FeatureRoCompat.LargeFile | BTREE_DIR;
  if ((incompat & ~ext3Incompat) !== 0 || (roCompat & ~ext3RoCompat) !== 0) return 'ext4';
  const hasJournal = (sb.readUInt32LE(SuperField.FeatureCompat) & FeatureCompat.HasJournal) !== 0;
  return hasJournal ? 'ext3' : 'ext2';
}

const JOURNAL_DEVICE = 0x8;
const META_BG = 0x10;
const BTREE_DIR = 0x4;

/** A copy of some bytes; undefined where they would pass the end. */
function readBytes(range: BackingRange, offset: number, length: number): Buffer | undefined {
  if (offset + length > range.length) return undefined;
  const bytes = Buffer.alloc(length);
  range.pread(offset, bytes);
  return bytes;
}
