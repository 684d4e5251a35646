import { assert } from '../../lib/assert.js';
import { crc32c } from '../../lib/crc32c.js';
import { DaxdError } from '../../lib/errno.js';
import { randomU32 } from '../../lib/random.js';
import { SECTOR_SIZE } from '../../lib/units.js';
import { checksumMismatch, damaged } from '../damage.js';
import { inodeChecksumSeed } from './checksum.js';
import { locateInode } from './inode-place.js';
import { decodeTime, encodeTime, encodeWallTime, laterInTick } from './inode-time.js';
import type { EncodedTime, TimeWidth } from './inode-time.js';
import {
  BLOCK_SIZE,
  EXTENT_MAGIC,
  EXTENT_ROOT_MAX,
  FILE_SIZE_MAX,
  GOOD_OLD_INODE_SIZE,
  I_BLOCK_SIZE,
  InodeField,
  InodeFlag,
  ModeType,
} from './layout.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** What an inode is, by the type bits of its mode. */
export type InodeType = 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo' | 'socket';

const TYPES: ReadonlyMap<number, InodeType> = new Map([
  [ModeType.File, 'file'],
  [ModeType.Directory, 'directory'],
  [ModeType.Symlink, 'symlink'],
  [ModeType.Char, 'char'],
  [ModeType.Block, 'block'],
  [ModeType.Fifo, 'fifo'],
  [ModeType.Socket, 'socket'],
]);

const SECTORS_PER_BLOCK = BLOCK_SIZE / SECTOR_SIZE;

/**
 * One inode, copied out of its table: changes go to the media by {@link store} alone. Fields
 * that daxd does not know, and attributes kept inside the inode, stay as they are.
 *
 * An object of this class is good for one synchronous stretch: across an await another
 * operation may have changed or freed the inode.
 *
 * @kernel struct ext4_inode (fs/ext4/ext4.h)
 */
export class Inode {
  readonly number: number;
  /** Root of the extent tree, or the target of a short symlink: 60 bytes, to be changed in place. */
  readonly iBlock: Buffer;
  readonly #volume: Volume;
  readonly #bytes: Buffer;
  #seed: number | undefined;

  /** Takes the bytes of an inode; they are copied. The caller has verified them. */
  constructor(volume: Volume, number: number, bytes: Buffer) {
    this.number = number;
    this.#volume = volume;
    this.#bytes = Buffer.from(bytes);
    this.iBlock = this.#bytes.subarray(InodeField.Block, InodeField.Block + I_BLOCK_SIZE);
  }

  /** Type and permission bits. */
  get mode(): number {
    return this.#bytes.readUInt16LE(InodeField.Mode);
  }

  set mode(value: number) {
    this.#bytes.writeUInt16LE(value, InodeField.Mode);
  }

  get linksCount(): number {
    return this.#bytes.readUInt16LE(InodeField.LinksCount);
  }

  set linksCount(value: number) {
    this.#bytes.writeUInt16LE(value, InodeField.LinksCount);
  }

  /** In bytes. */
  get size(): number {
    return (
      this.#bytes.readUInt32LE(InodeField.SizeLo) +
      this.#bytes.readUInt32LE(InodeField.SizeHi) * 2 ** 32
    );
  }

  set size(value: number) {
    assert(value >= 0 && value <= FILE_SIZE_MAX, 'a size fits the format');
    this.#bytes.writeUInt32LE(value % 2 ** 32, InodeField.SizeLo);
    this.#bytes.writeUInt32LE(Math.floor(value / 2 ** 32), InodeField.SizeHi);
  }

  get uid(): number {
    return this.#halves(InodeField.UidLo, InodeField.UidHi);
  }

  set uid(value: number) {
    this.#setHalves(InodeField.UidLo, InodeField.UidHi, value);
  }

  get gid(): number {
    return this.#halves(InodeField.GidLo, InodeField.GidHi);
  }

  set gid(value: number) {
    this.#setHalves(InodeField.GidLo, InodeField.GidHi, value);
  }

  get flags(): number {
    return this.#bytes.readUInt32LE(InodeField.Flags);
  }

  set flags(value: number) {
    this.#bytes.writeUInt32LE(value >>> 0, InodeField.Flags);
  }

  get generation(): number {
    return this.#bytes.readUInt32LE(InodeField.Generation);
  }

  get atimeNs(): bigint {
    return this.#time(InodeField.Atime, InodeField.AtimeExtra);
  }

  set atimeNs(value: bigint) {
    this.#setTime(InodeField.Atime, InodeField.AtimeExtra, value);
  }

  get ctimeNs(): bigint {
    return this.#time(InodeField.Ctime, InodeField.CtimeExtra);
  }

  get mtimeNs(): bigint {
    return this.#time(InodeField.Mtime, InodeField.MtimeExtra);
  }

  set mtimeNs(value: bigint) {
    this.#setTime(InodeField.Mtime, InodeField.MtimeExtra, value);
  }

  /** When it was deleted, in seconds; 0 while it lives, but for an orphan on the list. */
  get dtime(): number {
    return this.#bytes.readUInt32LE(InodeField.Dtime);
  }

  set dtime(value: number) {
    this.#bytes.writeUInt32LE(value, InodeField.Dtime);
  }

  /** What it takes up, data and tree and attributes, in filesystem blocks. */
  get blocks(): number {
    const units =
      this.#bytes.readUInt32LE(InodeField.BlocksLo) +
      this.#bytes.readUInt16LE(InodeField.BlocksHi) * 2 ** 32;
    return (this.flags & InodeFlag.HugeFile) === 0 ? units / SECTORS_PER_BLOCK : units;
  }

  /** Counted in sectors: 48 bits of them hold the largest file, so larger units are not needed. */
  set blocks(value: number) {
    this.flags &= ~InodeFlag.HugeFile;
    const sectors = value * SECTORS_PER_BLOCK;
    this.#bytes.writeUInt32LE(sectors % 2 ** 32, InodeField.BlocksLo);
    this.#bytes.writeUInt16LE(Math.floor(sectors / 2 ** 32), InodeField.BlocksHi);
  }

  /** Block of the extended attributes, or 0. */
  get fileAcl(): number {
    return (
      this.#bytes.readUInt32LE(InodeField.FileAclLo) +
      this.#bytes.readUInt16LE(InodeField.FileAclHi) * 2 ** 32
    );
  }

  set fileAcl(value: number) {
    this.#bytes.writeUInt32LE(value % 2 ** 32, InodeField.FileAclLo);
    this.#bytes.writeUInt16LE(Math.floor(value / 2 ** 32), InodeField.FileAclHi);
  }

  /** Seed of the checksums of whatever belongs to this inode. */
  get checksumSeed(): number {
    const { checksumSeed } = this.#volume.superblock;
    this.#seed ??= inodeChecksumSeed(checksumSeed, this.number, this.generation);
    return this.#seed;
  }

  /** @throws DaxdError EUCLEAN when the mode names no file type */
  get type(): InodeType {
    const type = TYPES.get(this.mode & ModeType.Mask);
    if (type !== undefined) return type;
    throw damaged(`inode ${this.number}: mode 0${this.mode.toString(8)} is no file type`);
  }

  /** What it takes up in units of 512 bytes, as stat counts. */
  get sectors(): number {
    return this.blocks * SECTORS_PER_BLOCK;
  }

  /**
   * What lies behind the fields, where extended attributes are kept: to be changed in place.
   * Empty where the inode says that it has nothing there.
   */
  get xattrArea(): Buffer {
    const { length } = this.#bytes;
    const extraIsize =
      length > GOOD_OLD_INODE_SIZE ? this.#bytes.readUInt16LE(InodeField.ExtraIsize) : 0;
    return this.#bytes.subarray(extraIsize === 0 ? length : GOOD_OLD_INODE_SIZE + extraIsize);
  }

  /** Whether its blocks are mapped by an extent tree: not a device, nor a short symlink. */
  get hasExtents(): boolean {
    return (this.flags & InodeFlag.Extents) !== 0;
  }

  /** Whether it maps blocks, one way or the other. */
  get hasBlocks(): boolean {
    return this.hasExtents || this.hasBlockMap;
  }

  /**
   * Whether its blocks are mapped as ext3 has it: not a device, nor a short symlink.
   *
   * @kernel ext4_inode_is_fast_symlink (fs/ext4/inode.c)
   */
  get hasBlockMap(): boolean {
    if (this.hasExtents) return false;
    const { type } = this;
    if (type === 'symlink') return this.blocks > (this.fileAcl === 0 ? 0 : 1);
    return type === 'file' || type === 'directory';
  }

  /** Sets mtime and ctime to now. */
  touch(): void {
    this.#putChangeTimes(this.#now());
  }

  /** Sets ctime to now: owner, links or permissions changed, the content did not. */
  touchStatus(): void {
    this.#putTime(InodeField.Ctime, InodeField.CtimeExtra, this.#now());
  }

  /** Sets all four times to now: the inode is new. */
  touchAll(): void {
    const now = this.#now();
    this.#putChangeTimes(now);
    this.#putTime(InodeField.Atime, InodeField.AtimeExtra, now);
    if (this.#has(InodeField.CrtimeExtra)) {
      this.#putTime(InodeField.Crtime, InodeField.CrtimeExtra, now);
    }
  }

  /** Writes it, with its checksum, to its place in its table. */
  store(txn: Transaction): void {
    sealInode(this.#bytes, this.checksumSeed);
    const { blockNumber, offset } = locateInode(this.#volume, this.number);
    this.#bytes.copy(txn.modify(blockNumber), offset);
  }

  #putChangeTimes(now: EncodedTime): void {
    this.#putTime(InodeField.Mtime, InodeField.MtimeExtra, now);
    this.#putTime(InodeField.Ctime, InodeField.CtimeExtra, now);
  }

  /**
   * Later than the ctime also where the clock has not ticked since: what a reader was shown with
   * that time is another file by now. Since 6.13 the kernel does likewise with times that were asked
   * for (inode_set_ctime_current in fs/inode.c).
   */
  #now(): EncodedTime {
    const now = encodeWallTime(this.#volume.clock.wallMs(), this.#width(InodeField.CtimeExtra));
    if (!this.#has(InodeField.CtimeExtra)) return now;
    const last = this.#bytes.readInt32LE(InodeField.Ctime);
    return laterInTick(now, last, this.#bytes.readUInt32LE(InodeField.CtimeExtra));
  }

  #width(extraField: number): TimeWidth {
    return this.#has(extraField) ? 'wide' : 'narrow';
  }

  #has(extraField: number): boolean {
    return hasField(this.#bytes, extraField, 4);
  }

  #time(field: number, extraField: number): bigint {
    const extra = this.#has(extraField) ? this.#bytes.readUInt32LE(extraField) : 0;
    return decodeTime(this.#bytes.readInt32LE(field), extra);
  }

  #setTime(field: number, extraField: number, timeNs: bigint): void {
    this.#putTime(field, extraField, encodeTime(timeNs, this.#width(extraField)));
  }

  #putTime(field: number, extraField: number, { seconds, extra }: EncodedTime): void {
    this.#bytes.writeInt32LE(seconds, field);
    if (this.#has(extraField)) this.#bytes.writeUInt32LE(extra, extraField);
  }

  #halves(lo: number, hi: number): number {
    return this.#bytes.readUInt16LE(lo) + this.#bytes.readUInt16LE(hi) * 65536;
  }

  #setHalves(lo: number, hi: number, value: number): void {
    this.#bytes.writeUInt16LE(value % 65536, lo);
    this.#bytes.writeUInt16LE(Math.floor(value / 65536), hi);
  }
}

/**
 * Reads an inode that is in use: it has a name, or had one and is kept for those who have it
 * open or leased.
 *
 * @throws DaxdError EUCLEAN when there is no such inode, EBADMSG for its checksum, ENOENT
 *   when it is free: it was removed since somebody learnt its number
 * @kernel __ext4_iget (fs/ext4/inode.c)
 */
export function readInode(source: BlockSource, volume: Volume, number: number): Inode {
  const inode = readAnyInode(source, volume, number);
  const isNameless = inode.linksCount === 0 && !volume.openFiles.isReachable(number);
  if (isNameless || inode.mode === 0) {
    throw new DaxdError('ENOENT', `inode ${number} is not in use (any more)`);
  }
  return inode;
}

/**
 * Reads an inode whether it is in use or not, for what deals with those that lost their last
 * name; everybody else takes {@link readInode}.
 *
 * @throws DaxdError EUCLEAN when there is no such inode, or its size is none; EBADMSG
 */
export function readAnyInode(source: BlockSource, volume: Volume, number: number): Inode {
  const { blockNumber, offset } = locateInode(volume, number);
  const { inodeSize, checksumSeed } = volume.superblock;
  const bytes = source.block(blockNumber).subarray(offset, offset + inodeSize);
  const part = offset / inodeSize;
  if (!source.isPartVerified(blockNumber, part)) {
    verify(bytes, number, checksumSeed);
    source.markPartVerified(blockNumber, part);
  }
  const inode = new Inode(volume, number, bytes);
  if (inode.size > FILE_SIZE_MAX) throw damaged(`inode ${number}: size ${inode.size}`);
  // More would not fit into the field once it counts in sectors again.
  if (inode.blocks > volume.superblock.blocksCount) {
    throw damaged(`inode ${number}: ${inode.blocks} blocks`);
  }
  return inode;
}

/**
 * A new inode with an empty extent tree and no links, all times now; nothing is stored. A
 * symlink with a short target or a device clears the extents flag and fills `iBlock` itself.
 */
export function makeInode(volume: Volume, number: number, mode: number): Inode {
  const { inodeSize, wantExtraIsize } = volume.superblock;
  const bytes = Buffer.alloc(inodeSize);
  if (inodeSize > GOOD_OLD_INODE_SIZE) bytes.writeUInt16LE(wantExtraIsize, InodeField.ExtraIsize);
  bytes.writeUInt32LE(randomU32(), InodeField.Generation);
  const inode = new Inode(volume, number, bytes);
  inode.mode = mode;
  inode.flags = InodeFlag.Extents;
  inode.iBlock.writeUInt16LE(EXTENT_MAGIC, 0);
  inode.iBlock.writeUInt16LE(EXTENT_ROOT_MAX, 4);
  inode.touchAll();
  return inode;
}

/** Writes the checksum of an inode into it. `seed` is the inode's. */
export function sealInode(bytes: Buffer, seed: number): void {
  const sum = inodeChecksum(bytes, seed);
  bytes.writeUInt16LE(sum & 0xffff, InodeField.ChecksumLo);
  if (hasField(bytes, InodeField.ChecksumHi, 2)) {
    bytes.writeUInt16LE(sum >>> 16, InodeField.ChecksumHi);
  }
}

/** @kernel ext4_inode_csum_verify (fs/ext4/inode.c) */
function verify(bytes: Buffer, number: number, fsSeed: number): void {
  const extraIsize =
    bytes.length > GOOD_OLD_INODE_SIZE ? bytes.readUInt16LE(InodeField.ExtraIsize) : 0;
  if (GOOD_OLD_INODE_SIZE + extraIsize > bytes.length || extraIsize % 4 !== 0) {
    throw damaged(`inode ${number}: ${extraIsize} extra bytes`);
  }
  const generation = bytes.readUInt32LE(InodeField.Generation);
  const sum = inodeChecksum(bytes, inodeChecksumSeed(fsSeed, number, generation));
  const isWide = hasField(bytes, InodeField.ChecksumHi, 2);
  const stored =
    bytes.readUInt16LE(InodeField.ChecksumLo) +
    (isWide ? bytes.readUInt16LE(InodeField.ChecksumHi) * 65536 : 0);
  if (stored === (isWide ? sum : sum & 0xffff)) return;
  // An inode that was never used has no checksum.
  if (bytes.every((byte) => byte === 0)) return;
  throw checksumMismatch(`inode ${number}`);
}

/** Over the whole inode, the checksum's own fields taken as zero. */
function inodeChecksum(bytes: Buffer, seed: number): number {
  const copy = scratch.subarray(0, bytes.length);
  bytes.copy(copy);
  copy.writeUInt16LE(0, InodeField.ChecksumLo);
  if (hasField(bytes, InodeField.ChecksumHi, 2)) copy.writeUInt16LE(0, InodeField.ChecksumHi);
  return crc32c(seed, copy);
}

/** For one checksum at a time. */
const scratch = Buffer.alloc(BLOCK_SIZE);

/** Whether a field behind the old inode is within what this one uses. */
function hasField(bytes: Buffer, offset: number, length: number): boolean {
  if (bytes.length <= GOOD_OLD_INODE_SIZE) return false;
  return offset + length <= GOOD_OLD_INODE_SIZE + bytes.readUInt16LE(InodeField.ExtraIsize);
}
