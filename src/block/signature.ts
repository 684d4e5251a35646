import { SECTOR_SIZE } from '../lib/units.js';
import type { BackingRange } from '../media/backing-range.js';

/** Something known that starts a disk, a partition or a backing. */
export interface Signature {
  readonly what: string;
  /** Byte offset of the signature within the range that was searched. */
  readonly where: number;
  /** Whether it is something that is mounted or swapped to, rather than a table. */
  readonly filesystem: boolean;
}

interface Magic extends Signature {
  readonly bytes: Buffer;
}

const EFI_PART = Buffer.from('EFI PART', 'latin1');

/** In the order asked: a filesystem's own mark before the boot sector it may carry. */
const MAGICS: readonly Magic[] = [
  magic('an ext2, ext3 or ext4 filesystem', 1080, Buffer.from([0x53, 0xef])),
  magic('an XFS filesystem', 0, Buffer.from('XFSB', 'latin1')),
  magic('a btrfs filesystem', 65600, Buffer.from('_BHRfS_M', 'latin1')),
  magic('swap space', 4086, Buffer.from('SWAPSPACE2', 'latin1')),
  magic('a LUKS volume', 0, Buffer.from('LUKS\xba\xbe', 'latin1')),
  magic('an LVM2 volume', 512, Buffer.from('LABELONE', 'latin1')),
  table('a GPT', SECTOR_SIZE, EFI_PART),
  table('an MBR', 510, Buffer.from([0x55, 0xaa])),
];

/**
 * Recognises what lies on a range by its first bytes, or by the backup GPT in its last
 * sector. Undefined for anything else, data of an unknown kind included.
 */
export function recogniseSignature(range: BackingRange): Signature | undefined {
  for (const { what, where, filesystem, bytes } of MAGICS) {
    if (hasBytes(range, where, bytes)) return { what, where, filesystem };
  }
  const lastSector = range.length - SECTOR_SIZE;
  if (lastSector >= 0 && hasBytes(range, lastSector, EFI_PART)) {
    return { what: 'a backup GPT', where: lastSector, filesystem: false };
  }
  return undefined;
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
    range.pread(at, piece);
    if (!piece.equals(ZEROS.subarray(0, piece.length))) {
      return at + piece.findIndex((byte) => byte !== 0);
    }
  }
  return undefined;
}

const CHUNK_BYTES = 65536;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

function magic(what: string, where: number, bytes: Buffer): Magic {
  return { what, where, bytes, filesystem: true };
}

function table(what: string, where: number, bytes: Buffer): Magic {
  return { what, where, bytes, filesystem: false };
}

function hasBytes(range: BackingRange, where: number, bytes: Buffer): boolean {
  if (where + bytes.length > range.length) return false;
  const found = Buffer.alloc(bytes.length);
  range.pread(where, found);
  return found.equals(bytes);
}
