import { crc32 } from 'node:zlib';

import GPT from 'gpt';

import { roundUp, SECTOR_SIZE } from '../lib/units.js';
import type { BackingRange } from '../media/backing-range.js';
import { GPT_ENTRY_BYTES } from './gpt-entry.js';

/** LBA of the primary header. */
export const GPT_PRIMARY_LBA = 1;
/** Slots of a table that daxd makes, as every tool does. */
const GPT_ENTRIES = 128;
/** Sectors that such a table takes. */
const GPT_TABLE_SECTORS = (GPT_ENTRIES * GPT_ENTRY_BYTES) / SECTOR_SIZE;

const HEADER_BYTES_MIN = 92;
/** The kernel allocates the table in one piece, at most this large. @kernel KMALLOC_MAX_SIZE */
const TABLE_BYTES_MAX = 4 * 1024 * 1024;

/** One of the two copies of a partition table, primary or backup; LBAs count 512 bytes. */
export interface GptCopy {
  readonly diskUuid: string;
  readonly headerLba: number;
  /** Where this copy says the other one is. */
  readonly otherHeaderLba: number;
  readonly tableLba: number;
  /** First and last sector that partitions may use. */
  readonly firstUsableLba: number;
  readonly lastUsableLba: number;
  /** The slots, 128 bytes each, as they are on the media. */
  readonly entries: Buffer;
}

/** A copy that does not hold together, and why. */
export interface GptDamage {
  readonly damage: string;
}

/**
 * Reads and verifies the copy whose header is at `headerLba`. Every rule of the kernel
 * is applied, both checksums among them.
 *
 * @param disk the whole disk
 * @kernel is_gpt_valid, alloc_read_gpt_entries (block/partitions/efi.c)
 */
export function readGptCopy(disk: BackingRange, headerLba: number): GptCopy | GptDamage {
  const diskSectors = Math.floor(disk.length / SECTOR_SIZE);
  if (headerLba < GPT_PRIMARY_LBA || headerLba >= diskSectors)
    return { damage: `its header would be at LBA ${headerLba}, outside the disk` };

  const sector = Buffer.alloc(SECTOR_SIZE);
  disk.read(headerLba * SECTOR_SIZE, sector);
  if (sector.toString('latin1', 0, GPT.SIGNATURE.length) !== GPT.SIGNATURE)
    return { damage: `no signature at LBA ${headerLba}` };

  const header = new GPT({ blockSize: SECTOR_SIZE }).parseHeader(sector);
  const damage = headerDamage(header, sector, headerLba) ?? rangeDamage(header, diskSectors);
  if (damage !== undefined) return { damage };

  const tableLba = Number(header.tableOffset);
  const entries = Buffer.alloc(header.entries * GPT_ENTRY_BYTES);
  disk.read(tableLba * SECTOR_SIZE, entries);
  if (crc32(entries) !== header.tableChecksum)
    return { damage: `checksum of the entries at LBA ${tableLba} does not match` };

  return {
    diskUuid: header.guid.toLowerCase(),
    headerLba,
    otherHeaderLba: Number(header.backupLBA),
    tableLba,
    firstUsableLba: Number(header.firstLBA),
    lastUsableLba: Number(header.lastLBA),
    entries,
  };
}

/** Stores a copy and settles when it is durable. */
export async function writeGptCopy(disk: BackingRange, copy: GptCopy): Promise<void> {
  const header = new GPT({
    blockSize: SECTOR_SIZE,
    guid: copy.diskUuid,
    currentLBA: BigInt(copy.headerLba),
    backupLBA: BigInt(copy.otherHeaderLba),
    firstLBA: BigInt(copy.firstUsableLba),
    lastLBA: BigInt(copy.lastUsableLba),
    tableOffset: BigInt(copy.tableLba),
  });
  header.entries = copy.entries.length / GPT_ENTRY_BYTES;
  // The package's own table checksum takes at least 16 KiB, whatever the number of entries.
  header.tableChecksum = crc32(copy.entries);
  const sector = header.writeHeader(Buffer.alloc(SECTOR_SIZE));

  await store(disk, copy.tableLba, copy.entries);
  await store(disk, copy.headerLba, sector);
}

/** The two copies of an empty table over a disk of `diskSectors`, which must fit both. */
export function blankGptCopies(diskUuid: string, diskSectors: number): readonly [GptCopy, GptCopy] {
  const lastLba = diskSectors - 1;
  const common = {
    diskUuid,
    firstUsableLba: GPT_PRIMARY_LBA + 1 + GPT_TABLE_SECTORS,
    lastUsableLba: lastLba - GPT_TABLE_SECTORS - 1,
    entries: Buffer.alloc(GPT_ENTRIES * GPT_ENTRY_BYTES),
  };
  return [
    {
      ...common,
      headerLba: GPT_PRIMARY_LBA,
      otherHeaderLba: lastLba,
      tableLba: GPT_PRIMARY_LBA + 1,
    },
    {
      ...common,
      headerLba: lastLba,
      otherHeaderLba: GPT_PRIMARY_LBA,
      tableLba: lastLba - GPT_TABLE_SECTORS,
    },
  ];
}

async function store(disk: BackingRange, lba: number, bytes: Buffer): Promise<void> {
  disk.backing.checkSize();
  disk.write(lba * SECTOR_SIZE, bytes);
  await disk.persist(lba * SECTOR_SIZE, bytes.length);
}

function headerDamage(header: GPT, sector: Buffer, headerLba: number): string | undefined {
  if (header.headerSize < HEADER_BYTES_MIN || header.headerSize > SECTOR_SIZE)
    return `header size ${header.headerSize} is not ${HEADER_BYTES_MIN} to ${SECTOR_SIZE}`;
  if (header.checksumHeader(sector.subarray(0, header.headerSize)) !== header.headerChecksum)
    return `checksum of the header at LBA ${headerLba} does not match`;
  if (header.currentLBA !== BigInt(headerLba))
    return `the header at LBA ${headerLba} says that it is at LBA ${header.currentLBA}`;
  if (header.entrySize !== GPT_ENTRY_BYTES)
    return `entries of ${header.entrySize} bytes, not ${GPT_ENTRY_BYTES}`;
  if (header.entries === 0 || header.entries * GPT_ENTRY_BYTES > TABLE_BYTES_MAX)
    return `a table of ${header.entries} entries`;
  return undefined;
}

function rangeDamage(header: GPT, diskSectors: number): string | undefined {
  const lastLba = BigInt(diskSectors - 1);
  if (header.firstLBA > header.lastLBA || header.lastLBA > lastLba)
    return `usable sectors ${header.firstLBA} to ${header.lastLBA} on a disk that ends at ${lastLba}`;
  const tableSectors = BigInt(roundUp(header.entries * GPT_ENTRY_BYTES, SECTOR_SIZE) / SECTOR_SIZE);
  if (header.tableOffset <= 1n || header.tableOffset + tableSectors > lastLba + 1n)
    return `a table at LBA ${header.tableOffset}, outside the disk`;
  return undefined;
}
