import { crc32c } from '../../lib/crc32c.js';
import { DaxdError } from '../../lib/errno.js';
import { checksumMismatch } from '../damage.js';
import { BLOCK_SIZE, GroupField } from './layout.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** Descriptors of this size and above carry the high halves of all fields. */
const WIDE_DESC_SIZE = 64;
/** The number of its group, before a descriptor where its checksum is computed. */
const NUMBER_SIZE = 4;
const scratch = Buffer.alloc(NUMBER_SIZE + BLOCK_SIZE);
/** The first copy of the descriptor table begins behind the superblock's block. */
const GDT_START = 1;

/**
 * One group's descriptor, in place: a view of the media to read, or of a transaction's copy
 * to change. Whoever changes it comes by way of {@link modifyGroup}, which seals it; only a new
 * filesystem's is made of bytes that are no block's yet.
 *
 * @kernel struct ext4_group_desc (fs/ext4/ext4.h)
 */
export class Group {
  readonly number: number;
  readonly #bytes: Buffer;

  constructor(number: number, bytes: Buffer) {
    this.number = number;
    this.#bytes = bytes;
  }

  get blockBitmap(): number {
    return this.#long(GroupField.BlockBitmapLo, GroupField.BlockBitmapHi);
  }

  set blockBitmap(value: number) {
    this.#setLong(GroupField.BlockBitmapLo, GroupField.BlockBitmapHi, value);
  }

  get inodeBitmap(): number {
    return this.#long(GroupField.InodeBitmapLo, GroupField.InodeBitmapHi);
  }

  set inodeBitmap(value: number) {
    this.#setLong(GroupField.InodeBitmapLo, GroupField.InodeBitmapHi, value);
  }

  /** Its first block. */
  get inodeTable(): number {
    return this.#long(GroupField.InodeTableLo, GroupField.InodeTableHi);
  }

  set inodeTable(value: number) {
    this.#setLong(GroupField.InodeTableLo, GroupField.InodeTableHi, value);
  }

  get flags(): number {
    return this.#bytes.readUInt16LE(GroupField.Flags);
  }

  set flags(value: number) {
    this.#bytes.writeUInt16LE(value, GroupField.Flags);
  }

  /** With bigalloc in clusters. */
  get freeBlocks(): number {
    return this.#short(GroupField.FreeBlocksLo, GroupField.FreeBlocksHi);
  }

  set freeBlocks(value: number) {
    this.#setShort(GroupField.FreeBlocksLo, GroupField.FreeBlocksHi, value);
  }

  get freeInodes(): number {
    return this.#short(GroupField.FreeInodesLo, GroupField.FreeInodesHi);
  }

  set freeInodes(value: number) {
    this.#setShort(GroupField.FreeInodesLo, GroupField.FreeInodesHi, value);
  }

  get usedDirs(): number {
    return this.#short(GroupField.UsedDirsLo, GroupField.UsedDirsHi);
  }

  set usedDirs(value: number) {
    this.#setShort(GroupField.UsedDirsLo, GroupField.UsedDirsHi, value);
  }

  /** Inodes at the end of the table that were never written and may hold garbage. */
  get itableUnused(): number {
    return this.#short(GroupField.ItableUnusedLo, GroupField.ItableUnusedHi);
  }

  set itableUnused(value: number) {
    this.#setShort(GroupField.ItableUnusedLo, GroupField.ItableUnusedHi, value);
  }

  /** The stored checksum of the block bitmap, and the bits of it that there are. */
  get blockBitmapChecksum(): { stored: number; mask: number } {
    return this.#checksum(GroupField.BlockBitmapCsumLo, GroupField.BlockBitmapCsumHi);
  }

  setBlockBitmapChecksum(value: number): void {
    this.#setShort(GroupField.BlockBitmapCsumLo, GroupField.BlockBitmapCsumHi, value);
  }

  get inodeBitmapChecksum(): { stored: number; mask: number } {
    return this.#checksum(GroupField.InodeBitmapCsumLo, GroupField.InodeBitmapCsumHi);
  }

  setInodeBitmapChecksum(value: number): void {
    this.#setShort(GroupField.InodeBitmapCsumLo, GroupField.InodeBitmapCsumHi, value);
  }

  /** Whether the stored checksum is right. */
  isSealed(fsSeed: number): boolean {
    return this.#bytes.readUInt16LE(GroupField.Checksum) === this.#compute(fsSeed);
  }

  /** Writes the checksum. */
  seal(fsSeed: number): void {
    this.#bytes.writeUInt16LE(this.#compute(fsSeed), GroupField.Checksum);
  }

  get #isWide(): boolean {
    return this.#bytes.length >= WIDE_DESC_SIZE;
  }

  /** @hot Once a descriptor changed. */
  #compute(fsSeed: number): number {
    const covered = scratch.subarray(0, NUMBER_SIZE + this.#bytes.length);
    covered.writeUInt32LE(this.number, 0);
    covered.set(this.#bytes, NUMBER_SIZE);
    covered.writeUInt16LE(0, NUMBER_SIZE + GroupField.Checksum);
    return crc32c(fsSeed, covered) & 0xffff;
  }

  #long(lo: number, hi: number): number {
    return (
      this.#bytes.readUInt32LE(lo) + (this.#isWide ? this.#bytes.readUInt32LE(hi) * 2 ** 32 : 0)
    );
  }

  #setLong(lo: number, hi: number, value: number): void {
    this.#bytes.writeUInt32LE(value % 2 ** 32, lo);
    if (this.#isWide) this.#bytes.writeUInt32LE(Math.floor(value / 2 ** 32), hi);
  }

  #short(lo: number, hi: number): number {
    return this.#bytes.readUInt16LE(lo) + (this.#isWide ? this.#bytes.readUInt16LE(hi) * 65536 : 0);
  }

  #setShort(lo: number, hi: number, value: number): void {
    this.#bytes.writeUInt16LE(value % 65536, lo);
    if (this.#isWide) this.#bytes.writeUInt16LE(Math.floor(value / 65536), hi);
  }

  #checksum(lo: number, hi: number): { stored: number; mask: number } {
    return { stored: this.#short(lo, hi), mask: this.#isWide ? 0xffffffff : 0xffff };
  }
}

/**
 * The descriptor of a group, to read. Its checksum was verified at the mount.
 *
 * @throws DaxdError EUCLEAN when there is no such group
 * @kernel ext4_get_group_desc (fs/ext4/balloc.c)
 */
export function readGroup(source: BlockSource, volume: Volume, number: number): Group {
  const { descSize, groupCount } = volume.superblock;
  if (!(number >= 0 && number < groupCount)) {
    throw new DaxdError('EUCLEAN', `group ${number} is named, the filesystem has ${groupCount}`);
  }
  const { blockNumber, offset } = locate(number, descSize);
  return new Group(number, source.block(blockNumber).subarray(offset, offset + descSize));
}

/**
 * Reads a descriptor for the first time.
 *
 * @throws DaxdError EBADMSG when its checksum is wrong
 * @kernel ext4_group_desc_csum_verify (fs/ext4/super.c)
 */
export function verifyGroup(volume: Volume, number: number): Group {
  const group = readGroup(volume, volume, number);
  if (group.isSealed(volume.superblock.checksumSeed)) return group;
  throw checksumMismatch(`group descriptor ${number}`);
}

/** The descriptor of a group, to change; it is sealed when the transaction commits. */
export function modifyGroup(txn: Transaction, volume: Volume, number: number): Group {
  readGroup(txn, volume, number);
  const { descSize, checksumSeed } = volume.superblock;
  const { blockNumber, offset } = locate(number, descSize);
  const group = new Group(number, txn.modify(blockNumber).subarray(offset, offset + descSize));
  txn.sealAtCommit(`descriptor ${number}`, () => {
    group.seal(checksumSeed);
  });
  return group;
}

function locate(number: number, descSize: number): { blockNumber: number; offset: number } {
  const byte = number * descSize;
  return { blockNumber: GDT_START + Math.floor(byte / BLOCK_SIZE), offset: byte % BLOCK_SIZE };
}
