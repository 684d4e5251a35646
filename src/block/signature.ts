import { SECTOR_SIZE } from '../lib/units.js';
import type { BackingRange } from '../media/backing-range.js';

/** What it is that starts a range, as far as its first bytes tell. */
export interface Signature {
  /** The name that blkid uses: `xfs`, `swap`, `gpt`; any of ext2 to ext4 is `ext4`. */
  readonly type: string;
  /** For a sentence: `an XFS filesystem`. */
  readonly what: string;
  /**
   * `filesystem`: mounted, swapped to, or opened for what lies in it, as a whole. `table`: tells
   * where partitions lie. `namespace`: what nvdimm puts before the data of a namespace.
   */
  readonly kind: 'filesystem' | 'table' | 'namespace';
  /** Byte offset of the signature within the range that was searched. */
  readonly offset: number;
}

interface Magic extends Signature {
  readonly bytes: Buffer;
}

const EFI_PART = 'EFI PART';

/**
 * In the order of trust: long marks before short ones, and what has a boot sector of its own only
 * after a GPT, for those who lay one over it keep the code of that sector.
 */
const MAGICS: readonly Magic[] = [
  filesystem('ext4', 'an ext2, ext3 or ext4 filesystem', [1080, '\x53\xef']),
  filesystem('xfs', 'an XFS filesystem', [0, 'XFSB']),
  filesystem('btrfs', 'a btrfs filesystem', [65536 + 64, '_BHRfS_M']),
  filesystem('crypto_LUKS', 'a LUKS volume', [0, 'LUKS\xba\xbe']),
  ...[0, 512, 1024, 1536].map((offset) =>
    filesystem('LVM2_member', 'an LVM2 volume', [offset, 'LABELONE']),
  ),
  ...[0, 4096].map((offset) =>
    filesystem('linux_raid_member', 'a Linux RAID member', [offset, '\xfc\x4e\x2b\xa9']),
  ),
  // The swap signature ends the first page of the machine that made it.
  ...[4096, 8192, 16384, 65536].flatMap((page) => [
    filesystem('swap', 'swap space', [page - 10, 'SWAPSPACE2']),
    filesystem('swap', 'swap space', [page - 10, 'SWAP-SPACE']),
  ]),
  filesystem('f2fs', 'an F2FS filesystem', [1024, '\x10\x20\xf5\xf2']),
  filesystem('erofs', 'an EROFS filesystem', [1024, '\xe2\xe1\xf5\xe0']),
  filesystem('squashfs', 'a squashfs filesystem', [0, 'hsqs']),
  filesystem('iso9660', 'an ISO 9660 filesystem', [32769, 'CD001']),
  filesystem('reiserfs', 'a ReiserFS filesystem', [65536 + 52, 'ReIsEr']),
  filesystem('jfs', 'a JFS filesystem', [32768, 'JFS1']),
  filesystem('bcache', 'a bcache device', [4096 + 24, '\xc6\x85\x73\xf6\x4e\x1a\x45\xca']),
  namespace('BTT', 'a BTT', [4096, 'BTT_ARENA_INFO']),
  namespace('BTT', 'a BTT', [0, 'BTT_ARENA_INFO']),
  namespace('nvdimm_pfn', 'an fsdax info block', [4096, 'NVDIMM_PFN_INFO']),
  namespace('nvdimm_dax', 'a devdax info block', [4096, 'NVDIMM_DAX_INFO']),
  table('gpt', 'a GPT', [SECTOR_SIZE, EFI_PART]),
  filesystem('ntfs', 'an NTFS filesystem', [3, 'NTFS    ']),
  filesystem('exfat', 'an exFAT filesystem', [3, 'EXFAT   ']),
  filesystem('vfat', 'a FAT filesystem', [82, 'FAT32   ']),
  filesystem('vfat', 'a FAT filesystem', [54, 'FAT16   ']),
  filesystem('vfat', 'a FAT filesystem', [54, 'FAT12   ']),
  table('dos', 'an MBR', [510, '\x55\xaa']),
];

/**
 * Recognises what lies on a range by its first bytes, or by the backup GPT in its last
 * sector. Undefined for anything else, data of an unknown kind included. Reads some hundred
 * bytes and verifies nothing.
 *
 * @throws DaxdError EIO when the media cannot be read.
 */
export function recogniseSignature(range: BackingRange): Signature | undefined {
  const found = MAGICS.find((magic) => isOn(range, magic));
  if (found !== undefined) return found;
  const lastSector = range.length - SECTOR_SIZE;
  if (lastSector < 0) return undefined;
  const backup = table('backup-gpt', 'a backup GPT', [lastSector, EFI_PART]);
  return isOn(range, backup) ? backup : undefined;
}

/**
 * What lies on a range: what is known, or `data` at the first byte that is not zero. Undefined
 * where so many bytes of both ends are zeros; a hole is. What nvdimm puts before a namespace
 * comes before all else here: it may stand among the first bytes of what lay there earlier.
 *
 * @throws DaxdError EIO when the media cannot be read.
 */
export function lyingAtEnds(
  range: BackingRange,
  endBytes: number,
): Pick<Signature, 'what' | 'offset'> | undefined {
  const length = Math.min(endBytes, range.length);
  const byte = firstNonZero(range, 0, length) ?? firstNonZero(range, range.length - length, length);
  if (byte === undefined) return undefined;
  const before = MAGICS.find((magic) => magic.kind === 'namespace' && isOn(range, magic));
  return before ?? recogniseSignature(range) ?? { what: 'data', offset: byte };
}

/**
 * Offset of the first byte that is not zero in `[offset, offset + length)`; undefined when
 * all are.
 */
export function firstNonZero(
  range: BackingRange,
  offset: number,
  length: number,
): number | undefined {
  const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, length));
  for (let at = offset; at < offset + length; at += chunk.length) {
    const piece = chunk.subarray(0, Math.min(chunk.length, offset + length - at));
    range.read(at, piece);
    if (!piece.equals(ZEROS.subarray(0, piece.length))) {
      return at + piece.findIndex((byte) => byte !== 0);
    }
  }
  return undefined;
}

const CHUNK_BYTES = 65536;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

type Mark = readonly [offset: number, latin1: string];

function filesystem(type: string, what: string, mark: Mark): Magic {
  return marked({ type, what, kind: 'filesystem' }, mark);
}

function namespace(type: string, what: string, mark: Mark): Magic {
  return marked({ type, what, kind: 'namespace' }, mark);
}

function table(type: string, what: string, mark: Mark): Magic {
  return marked({ type, what, kind: 'table' }, mark);
}

function marked(named: Omit<Signature, 'offset'>, [offset, latin1]: Mark): Magic {
  return { ...named, offset, bytes: Buffer.from(latin1, 'latin1') };
}

function isOn(range: BackingRange, { offset, bytes }: Magic): boolean {
  if (offset + bytes.length > range.length) return false;
  const found = Buffer.alloc(bytes.length);
  range.read(offset, found);
  return found.equals(bytes);
}
