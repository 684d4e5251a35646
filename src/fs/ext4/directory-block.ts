import { assert } from '../../lib/assert.js';
import { crc32c } from '../../lib/crc32c.js';
import { DaxdError } from '../../lib/errno.js';
import { checksumMismatch, damaged } from '../damage.js';
import { BLOCK_SIZE, ROOT_INODE } from './layout.js';

/**
 * One block of a directory: a chain of entries that covers the block without a gap, closed
 * by a twelve byte tail that looks like an unused entry and holds the checksum.
 *
 *     0  u32 inode (0: unused)   4  u16 rec_len   6  u8 name_len   7  u8 file type   8  name
 *
 * @kernel struct ext4_dir_entry_2, struct ext4_dir_entry_tail (fs/ext4/ext4.h)
 */

/** File types as directory entries store them. @kernel EXT4_FT_* (fs/ext4/ext4.h) */
export const EntryType = {
  Unknown: 0,
  Regular: 1,
  Directory: 2,
  Char: 3,
  Block: 4,
  Fifo: 5,
  Socket: 6,
  Symlink: 7,
} as const;

/** Bytes of the longest name. @kernel EXT4_NAME_LEN (fs/ext4/ext4.h) */
export const NAME_BYTES_MAX = 255;
/** Where the entries of a block with a checksum tail end. */
export const ENTRIES_END = BLOCK_SIZE - 12;

const HEADER_BYTES = 8;
const ENTRY_BYTES_MIN = 12;
const TAIL_REC_LEN = 12;
const TAIL_TYPE = 0xde;
const CHECKSUM_OFFSET = BLOCK_SIZE - 4;
const SLASH = 0x2f;
const DOT = 0x2e;

/** Which block of which directory, and what its entries may point at; for checks and messages. */
export interface DirectoryBlockPlace {
  /** Inode of the directory. */
  readonly directory: number;
  /** Index of the block within the directory. */
  readonly logical: number;
  /** First inode number that is not reserved. */
  readonly firstInode: number;
  /** Highest inode number of the filesystem. */
  readonly inodesCount: number;
}

/** An entry in use, copied out of its block. */
export interface DirectoryEntry {
  readonly inode: number;
  readonly entryType: number;
  readonly name: Buffer;
}

/** An entry in use with the room that its record takes, of which some may be free. */
export interface DirectoryRecord extends DirectoryEntry {
  readonly recLen: number;
}

/** Where an entry stands in its block. */
export interface EntryPosition {
  readonly offset: number;
  /** Offset of the entry before it; undefined for the first of the block. */
  readonly previous: number | undefined;
}

/** Bytes that an entry with a name of `nameLength` bytes needs at least. */
export function entryBytes(nameLength: number): number {
  return (HEADER_BYTES + nameLength + 3) & ~3;
}

/** How messages name a directory block. */
export function placeName(place: DirectoryBlockPlace): string {
  return `directory inode ${place.directory}, block ${place.logical}`;
}

/** Whether this is the name `.` or `..`. */
export function isDotName(name: Uint8Array): boolean {
  return name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT));
}

/**
 * Checks tail, checksum and every entry of a leaf block, so that what reads it afterwards
 * can follow the chain without a further check.
 *
 * @param seed checksum seed of the directory's inode
 * @throws DaxdError EBADMSG for the checksum, EUCLEAN for the structure
 */
export function checkDirectoryBlock(block: Buffer, seed: number, place: DirectoryBlockPlace): void {
  const hasTail =
    block.readUInt32LE(ENTRIES_END) === 0 &&
    block.readUInt16LE(ENTRIES_END + 4) === TAIL_REC_LEN &&
    block.readUInt8(ENTRIES_END + 6) === 0 &&
    block.readUInt8(ENTRIES_END + 7) === TAIL_TYPE;
  if (!hasTail) throw damaged(`${placeName(place)}: there is no checksum tail`);
  const stored = block.readUInt32LE(CHECKSUM_OFFSET);
  const computed = crc32c(seed, block.subarray(0, ENTRIES_END));
  if (stored !== computed) {
    throw checksumMismatch(
      `${placeName(place)} has ${hex(stored)}, the block gives ${hex(computed)}`,
    );
  }
  checkEntries(block, ENTRIES_END, place);
}

/**
 * Checks the chain of entries in `block[0, end)`.
 *
 * @throws DaxdError EUCLEAN naming the entry
 * @hot Once a block of every directory lookup; the loop makes no object.
 */
export function checkEntries(block: Buffer, end: number, place: DirectoryBlockPlace): void {
  let index = 0;
  for (let offset = 0; offset < end; index++) {
    const recLen = offset + HEADER_BYTES <= end ? block.readUInt16LE(offset + 4) : 0;
    if (recLen < ENTRY_BYTES_MIN || recLen % 4 !== 0 || offset + recLen > end) {
      throw damagedBlock(place, offset, `record length ${recLen} is out of place`);
    }
    if (recLen < entryBytes(block.readUInt8(offset + 6))) {
      throw damagedBlock(place, offset, `a name passes the end of its record of ${recLen} bytes`);
    }
    if (place.logical === 0 && index < 2) checkDotEntry(block, offset, index, place);
    else if (block.readUInt32LE(offset) !== 0) checkUsedEntry(block, offset, place);
    offset += recLen;
  }
  if (place.logical === 0 && index < 2) throw damagedBlock(place, 0, '"." and ".." are missing');
}

/** Makes `block` a leaf with no entry in use. */
export function clearDirectoryBlock(block: Buffer): void {
  block.fill(0);
  putEntry(block, 0, { inode: 0, entryType: 0, name: Buffer.alloc(0) }, ENTRIES_END);
  putTail(block);
}

/** Makes `block` the first block of a new directory. */
export function initDirectoryBlock(block: Buffer, self: number, parent: number): void {
  block.fill(0);
  const entryType = EntryType.Directory;
  const dot = { inode: self, entryType, name: Buffer.from('.') };
  putEntry(block, 0, dot, ENTRY_BYTES_MIN);
  const dotDot = { inode: parent, entryType, name: Buffer.from('..') };
  putEntry(block, ENTRY_BYTES_MIN, dotDot, ENTRIES_END - ENTRY_BYTES_MIN);
  putTail(block);
}

/** Writes the tail that marks where the entries end; {@link sealDirectoryBlock} fills it. */
function putTail(block: Buffer): void {
  block.writeUInt32LE(0, ENTRIES_END);
  block.writeUInt16LE(TAIL_REC_LEN, ENTRIES_END + 4);
  block.writeUInt8(0, ENTRIES_END + 6);
  block.writeUInt8(TAIL_TYPE, ENTRIES_END + 7);
}

/** Stores the checksum of a leaf block: the last thing to do to a changed one. */
export function sealDirectoryBlock(block: Buffer, seed: number): void {
  assert(block.readUInt8(ENTRIES_END + 7) === TAIL_TYPE, 'a leaf block is sealed in its tail');
  block.writeUInt32LE(crc32c(seed, block.subarray(0, ENTRIES_END)), CHECKSUM_OFFSET);
}

/**
 * Finds `name` among the entries in use of a checked block.
 *
 * @hot Once a block of every directory lookup; the loop reads bytes, which costs less than numbers.
 */
export function findEntry(block: Buffer, end: number, name: Uint8Array): EntryPosition | undefined {
  let previous: number | undefined;
  for (let offset = 0; offset < end;) {
    if (block[offset + 6] === name.length && hasName(block, offset, name)) {
      if (block.readUInt32LE(offset) !== 0) return position(offset, previous);
    }
    previous = offset;
    offset += (block[offset + 4] ?? 0) + (block[offset + 5] ?? 0) * 256;
  }
  return undefined;
}

/**
 * Whether the name of an entry is this one, of the same length. Names of one directory often
 * differ at their end alone, so that is looked at first.
 *
 * @hot Once an entry of every directory lookup.
 */
function hasName(block: Buffer, offset: number, name: Uint8Array): boolean {
  for (let i = name.length - 1; i >= 0; i--) {
    if (block[offset + HEADER_BYTES + i] !== name[i]) return false;
  }
  return true;
}

/** The inode that the entry at `offset` of a checked block names. */
export function entryInode(block: Buffer, offset: number): number {
  return block.readUInt32LE(offset);
}

/** The entry at `offset` of a checked block, copied. */
function readEntry(block: Buffer, offset: number): DirectoryEntry {
  const start = offset + HEADER_BYTES;
  return {
    inode: block.readUInt32LE(offset),
    entryType: block.readUInt8(offset + 7),
    name: Buffer.from(block.subarray(start, start + block.readUInt8(offset + 6))),
  };
}

/** Copies of the entries in use of a checked block, in their order. */
export function readEntries(block: Buffer, end: number): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  for (let offset = 0; offset < end; offset += block.readUInt16LE(offset + 4)) {
    if (block.readUInt32LE(offset) !== 0) entries.push(readEntry(block, offset));
  }
  return entries;
}

/** The entries in use of a checked leaf block with the length of their records. */
export function readRecords(block: Buffer): DirectoryRecord[] {
  const records: DirectoryRecord[] = [];
  // One copy for all names: a leaf holds hundreds.
  const copy = Buffer.from(block);
  for (let offset = 0; offset < ENTRIES_END;) {
    const recLen = copy.readUInt16LE(offset + 4);
    const inode = copy.readUInt32LE(offset);
    const start = offset + HEADER_BYTES;
    const name = copy.subarray(start, start + copy.readUInt8(offset + 6));
    if (inode !== 0) records.push({ inode, entryType: copy.readUInt8(offset + 7), name, recLen });
    offset += recLen;
  }
  return records;
}

/**
 * Makes `block` a leaf with the records that stand behind ".." in a linear first block, as
 * they lie there: the room behind each counts when the leaf is split.
 *
 * @kernel make_indexed_dir (fs/ext4/namei.c)
 */
export function moveFirstRecords(block: Buffer, first: Buffer): void {
  const dotDot = first.readUInt16LE(4);
  const start = dotDot + first.readUInt16LE(dotDot + 4);
  clearDirectoryBlock(block);
  first.copy(block, 0, start, ENTRIES_END);
  const length = ENTRIES_END - start;
  block.fill(0, length, ENTRIES_END);
  let last = 0;
  for (let offset = 0; offset < length; offset += block.readUInt16LE(offset + 4)) last = offset;
  block.writeUInt16LE(ENTRIES_END - last, last + 4);
}

/** Makes `block` a leaf with these entries, one right behind the other. */
export function packEntries(block: Buffer, entries: readonly DirectoryEntry[]): void {
  clearDirectoryBlock(block);
  let offset = 0;
  entries.forEach((entry, i) => {
    const bytes = entryBytes(entry.name.length);
    const isLast = i === entries.length - 1;
    putEntry(block, offset, entry, isLast ? ENTRIES_END - offset : bytes);
    offset += bytes;
  });
  assert(offset <= ENTRIES_END, 'what came out of a block fits a block');
}

/**
 * Offset of the first entry of a checked leaf block behind which, or in whose place, a name of
 * `nameLength` bytes fits; -1 without one.
 *
 * @hot Once a block of every insert; the loop reads bytes, which costs less than numbers.
 */
export function findRoom(block: Buffer, nameLength: number): number {
  const needed = entryBytes(nameLength);
  for (let offset = 0; offset < ENTRIES_END;) {
    const recLen = (block[offset + 4] ?? 0) + (block[offset + 5] ?? 0) * 256;
    if (recLen >= needed && recLen - usedBytes(block, offset) >= needed) return offset;
    offset += recLen;
  }
  return -1;
}

/** Puts `entry` where {@link findRoom} found room for it. */
export function insertEntry(block: Buffer, offset: number, entry: DirectoryEntry): void {
  assert(offset >= 0, 'a name goes where there is room for it');
  const recLen = block.readUInt16LE(offset + 4);
  const used = usedBytes(block, offset);
  assert(recLen - used >= entryBytes(entry.name.length), 'a name goes where there is room for it');
  if (used > 0) block.writeUInt16LE(used, offset + 4);
  putEntry(block, offset + used, entry, recLen - used);
}

/** Takes an entry out: the one before it grows over it, the first of a block becomes unused. */
export function removeEntry(block: Buffer, { offset, previous }: EntryPosition): void {
  const recLen = block.readUInt16LE(offset + 4);
  // All of it is cleared: a deleted name must not survive where only the chain hides it.
  block.fill(0, offset, offset + recLen);
  if (previous === undefined) block.writeUInt16LE(recLen, offset + 4);
  else block.writeUInt16LE(block.readUInt16LE(previous + 4) + recLen, previous + 4);
}

/** Points an entry at another inode; name and length stay. */
export function retargetEntry(
  block: Buffer,
  offset: number,
  target: { readonly inode: number; readonly entryType: number },
): void {
  block.writeUInt32LE(target.inode, offset);
  block.writeUInt8(target.entryType, offset + 7);
}

/** Bytes that the entry itself takes of its record. */
function usedBytes(block: Buffer, offset: number): number {
  return block.readUInt32LE(offset) === 0 ? 0 : entryBytes(block[offset + 6] ?? 0);
}

function putEntry(block: Buffer, offset: number, entry: DirectoryEntry, recLen: number): void {
  assert(entry.name.length <= NAME_BYTES_MAX, 'a name has at most 255 bytes');
  block.writeUInt32LE(entry.inode, offset);
  block.writeUInt16LE(recLen, offset + 4);
  block.writeUInt8(entry.name.length, offset + 6);
  block.writeUInt8(entry.entryType, offset + 7);
  block.set(entry.name, offset + HEADER_BYTES);
}

/** @hot Once an entry of every directory block read. */
function checkUsedEntry(block: Buffer, offset: number, place: DirectoryBlockPlace): void {
  const inode = block.readUInt32LE(offset);
  if (inode > place.inodesCount || inode < place.firstInode || inode === place.directory) {
    throw damagedBlock(place, offset, `an entry points at inode ${inode}, which no name may have`);
  }
  const start = offset + HEADER_BYTES;
  const length = block.readUInt8(offset + 6);
  if (length === 0) throw damagedBlock(place, offset, 'the name is empty');
  for (let i = start; i < start + length; i++) {
    const byte = block[i];
    if (byte === SLASH || byte === 0)
      throw damagedBlock(place, offset, 'the name holds "/" or NUL');
  }
  if (block[start] === DOT && isDotName(block.subarray(start, start + length))) {
    throw damagedBlock(place, offset, 'a second "." or ".."');
  }
}

/** The first block of a directory begins with "." and "..", in this order. */
function checkDotEntry(
  block: Buffer,
  offset: number,
  index: number,
  place: DirectoryBlockPlace,
): void {
  const { inode, name } = readEntry(block, offset);
  const expected = index === 0 ? '.' : '..';
  if (name.toString('latin1') !== expected)
    throw damagedBlock(place, offset, `"${expected}" is missing`);
  const isTargetValid =
    index === 0
      ? inode === place.directory
      : inode === ROOT_INODE ||
        (inode >= place.firstInode && inode <= place.inodesCount && inode !== place.directory);
  if (!isTargetValid) throw damagedBlock(place, offset, `"${expected}" points at inode ${inode}`);
}

/** Apart from its caller, which is hot: the object is made only on a hit. */
function position(offset: number, previous: number | undefined): EntryPosition {
  return { offset, previous };
}

function damagedBlock(place: DirectoryBlockPlace, offset: number, what: string): DaxdError {
  return damaged(`${placeName(place)}, byte ${offset}: ${what}`);
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}
