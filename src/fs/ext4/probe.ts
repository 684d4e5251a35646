import { recogniseSignature } from '../../block/signature.js';
import { formatUuid } from '../../lib/uuid.js';
import type { BackingRange } from '../../media/backing-range.js';
import {
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
  /** What the superblock says of its uses; of ext2 to ext4 only. */
  readonly usage: SuperblockUsage | undefined;
}

/** Tells an older copy of a filesystem from the newer one; times are seconds since the epoch. */
interface SuperblockUsage {
  /** When it was written last. */
  readonly writtenSeconds: number;
  /** Mounts for writing since it was made or checked, modulo 65536. */
  readonly mountCount: number;
  /** When e2fsck checked it last, and began to count its mounts anew. */
  readonly checkedSeconds: number;
}

/**
 * Looks for a known format on a partition. Reads a few hundred bytes, verifies no checksum and
 * stores nothing, so the answer is for listings and for a warning before formatting: whether
 * an ext4 can be mounted, only the mount says.
 *
 * @throws DaxdError EIO when the media cannot be read.
 */
export function probeSuperblock(range: BackingRange): ProbedFilesystem | undefined {
  const found = recogniseSignature(range);
  if (found === undefined || TOO_WEAK.has(found.type)) return undefined;
  if (found.type === 'ext4') return probeExt(range);
  return {
    type: found.type,
    label: '',
    uuid: '',
    totalBytes: undefined,
    freeBytes: undefined,
    usage: undefined,
  };
}

/** What a partition carries for other reasons, too: boot code, or the end of an earlier disk. */
const TOO_WEAK: ReadonlySet<string> = new Set(['dos', 'backup-gpt']);

function probeExt(range: BackingRange): ProbedFilesystem | undefined {
  if (SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE > range.length) return undefined;
  const sb = Buffer.alloc(SUPERBLOCK_SIZE);
  range.read(SUPERBLOCK_OFFSET, sb);
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
    usage: {
      writtenSeconds: sb.readUInt32LE(SuperField.WriteTime),
      mountCount: sb.readUInt16LE(SuperField.MountCount),
      checkedSeconds: sb.readUInt32LE(SuperField.LastCheck),
    },
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
