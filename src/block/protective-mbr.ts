import { SECTOR_SIZE } from '../lib/units.js';

/** What the first sector of a disk holds. */
export type MbrKind = 'none' | 'protective' | 'dos';

const SIGNATURE_OFFSET = 510;
const SIGNATURE = 0xaa55;
const TABLE_OFFSET = 446;
const ENTRY_BYTES = 16;
const ENTRIES = 4;
/** Offsets within an entry. */
const OS_TYPE = 4;
const FIRST_LBA = 8;
const SECTORS = 12;
const OS_TYPE_GPT_PROTECTIVE = 0xee;
const UINT32_MAX = 2 ** 32 - 1;

/**
 * Tells a protective MBR (an entry of type 0xEE that starts at LBA 1) from one of
 * another use. Without it the kernel does not look for a GPT.
 *
 * @param sector the first 512 bytes of the disk
 * @kernel is_pmbr_valid (block/partitions/efi.c)
 */
export function mbrKind(sector: Buffer): MbrKind {
  if (sector.readUInt16LE(SIGNATURE_OFFSET) !== SIGNATURE) return 'none';
  for (let entry = 0; entry < ENTRIES; entry++) {
    const at = TABLE_OFFSET + entry * ENTRY_BYTES;
    if (
      sector[at + OS_TYPE] === OS_TYPE_GPT_PROTECTIVE &&
      sector.readUInt32LE(at + FIRST_LBA) === 1
    )
      return 'protective';
  }
  return 'dos';
}

/**
 * The sector that keeps tools without GPT off the disk: one entry of type 0xEE over all
 * of it, or over as much as 32 bits can tell (UEFI 2.10, section 5.2.3).
 *
 * @param diskSectors sectors of 512 bytes
 */
export function encodeProtectiveMbr(diskSectors: number): Buffer {
  const sector = Buffer.alloc(SECTOR_SIZE);
  // Status, then the cylinder, head and sector of LBA 1, the type, and an end that says
  // "beyond what cylinders, heads and sectors can name".
  sector.set([0x00, 0x00, 0x02, 0x00, OS_TYPE_GPT_PROTECTIVE, 0xff, 0xff, 0xff], TABLE_OFFSET);
  sector.writeUInt32LE(1, TABLE_OFFSET + FIRST_LBA);
  sector.writeUInt32LE(Math.min(diskSectors - 1, UINT32_MAX), TABLE_OFFSET + SECTORS);
  sector.writeUInt16LE(SIGNATURE, SIGNATURE_OFFSET);
  return sector;
}
