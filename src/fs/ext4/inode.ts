import { randomBytes } from 'node:crypto';

import { assert } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import { crc32cExcept, inodeChecksumSeed } from './checksum.js';
import { readGroup } from './group.js';
import { decodeTime, encodeTime } from './inode-time.js';
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

const SECTORS_PER_BLOCK = BLOCK_SIZE / 512;

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
  /** Type and permission bits. */
  mode: number;
  linksCount: number;
  /** In bytes. */
  size: number;
  uid: number;
  gid: number;
  flags: number;
  readonly generation: number;
  atimeNs: bigint;
  ctimeNs: bigint;
  mtimeNs: bigint;
  /** Undefined where the inode is too small to hold it. */
  crtimeNs: bigint | undefined;
  /** When it was deleted, in seconds; 0 while it lives. */
  dtime: number;
  /** What it takes up, data and tree and attributes, in filesystem blocks. */
  blocks: number;
  /** Block of the extended attributes, or 0. */
  fileAcl: number;
  /** Root of the extent tree, or the target of a short symlink: 60 bytes, to be changed in place. */
  readonly iBlock: Buffer;
  /** Seed of the checksums of whatever belongs to this inode. */
  readonly checksumSeed: number;
  readonly #volume: Volume;
  readonly #bytes: Buffer;

  /** Takes the bytes of an inode apart; they are copied. The caller has verified them. */
  constructor(volume: Volume, number: number, bytes: Buffer) {
    const raw = Buffer.from(bytes);
    this.number = number;
    this.#volume = volume;
    this.#bytes = raw;
    this.mode = raw.readUInt16LE(InodeField.Mode);
    this.linksCount = raw.readUInt16LE(InodeField.LinksCount);
    this.size = raw.readUInt32LE(InodeField.SizeLo) + raw.readUInt32LE(InodeField.SizeHi) * 2 ** 32;
    this.uid = raw.readUInt16LE(InodeField.UidLo) + raw.readUInt16LE(InodeField.UidHi) * 65536;
    this.gid = raw.readUInt16LE(InodeField.GidLo) + raw.readUInt16LE(InodeField.GidHi) * 65536;
    this.flags = raw.readUInt32LE(InodeField.Flags);
    this.generation = raw.readUInt32LE(InodeField.Generation);
    this.atimeNs = this.#time(InodeField.Atime, InodeField.AtimeExtra);
    this.ctimeNs = this.#time(InodeField.Ctime, InodeField.CtimeExtra);
    this.mtimeNs = this.#time(InodeField.Mtime, InodeField.MtimeExtra);
    this.crtimeNs = this.#has(InodeField.CrtimeExtra)
      ? this.#time(InodeField.Crtime, InodeField.CrtimeExtra)
      : undefined;
    this.dtime = raw.readUInt32LE(InodeField.Dtime);
    this.blocks = this.#readBlocks();
    this.fileAcl =
      raw.readUInt32LE(InodeField.FileAclLo) + raw.readUInt16LE(InodeField.FileAclHi) * 2 ** 32;
    this.iBlock = Buffer.from(raw.subarray(InodeField.Block, InodeField.Block + I_BLOCK_SIZE));
    this.checksumSeed = inodeChecksumSeed(volume.superblock.checksumSeed, number, this.generation);
  }

  /** @throws DaxdError EUCLEAN when the mode names no file type */
  get type(): InodeType {
    const type = TYPES.get(this.mode & ModeType.Mask);
    if (type !== undefined) return type;
    throw new DaxdError(
      'EUCLEAN',
      `inode ${this.number}: mode 0${this.mode.toString(8)} is no file type; run e2fsck -fy`,
    );
  }

  /** What it takes up in units of 512 bytes, as stat counts. */
  get sectors(): number {
    return this.blocks * SECTORS_PER_BLOCK;
  }

  /** Whether its blocks are mapped by an extent tree: not a device, nor a short symlink. */
  get hasExtents(): boolean {
    return (this.flags & InodeFlag.Extents) !== 0;
  }

  /** Sets mtime and ctime to now. */
  touch(): void {
    this.touchStatus();
    this.mtimeNs = this.ctimeNs;
  }

  /** Sets ctime to now: owner, links or permissions changed, the content did not. */
  touchStatus(): void {
    this.ctimeNs = wallNs(this.#volume);
  }

  /** Writes all fields and the checksum to the inode's place in its table. */
  store(txn: Transaction): void {
    const raw = this.#bytes;
    assert(this.size >= 0 && this.size <= FILE_SIZE_MAX, 'a size fits the format');
    raw.writeUInt16LE(this.mode, InodeField.Mode);
    raw.writeUInt16LE(this.linksCount, InodeField.LinksCount);
    raw.writeUInt32LE(this.size % 2 ** 32, InodeField.SizeLo);
    raw.writeUInt32LE(Math.floor(this.size / 2 ** 32), InodeField.SizeHi);
    raw.writeUInt16LE(this.uid % 65536, InodeField.UidLo);
    raw.writeUInt16LE(Math.floor(this.uid / 65536), InodeField.UidHi);
    raw.writeUInt16LE(this.gid % 65536, InodeField.GidLo);
    raw.writeUInt16LE(Math.floor(this.gid / 65536), InodeField.GidHi);
    this.#writeBlocks();
    raw.writeUInt32LE(this.flags >>> 0, InodeField.Flags);
    this.#setTime(InodeField.Atime, InodeField.AtimeExtra, this.atimeNs);
    this.#setTime(InodeField.Ctime, InodeField.CtimeExtra, this.ctimeNs);
    this.#setTime(InodeField.Mtime, InodeField.MtimeExtra, this.mtimeNs);
    if (this.crtimeNs !== undefined) {
      this.#setTime(InodeField.Crtime, InodeField.CrtimeExtra, this.crtimeNs);
    }
    raw.writeUInt32LE(this.dtime, InodeField.Dtime);
    raw.writeUInt32LE(this.fileAcl % 2 ** 32, InodeField.FileAclLo);
    raw.writeUInt16LE(Math.floor(this.fileAcl / 2 ** 32), InodeField.FileAclHi);
    this.iBlock.copy(raw, InodeField.Block);
    this.#seal();

    const { blockNumber, offset } = locateInode(txn, this.#volume, this.number);
    raw.copy(txn.modify(blockNumber), offset);
  }

  #seal(): void {
    const sum = inodeChecksum(this.#bytes, this.checksumSeed);
    this.#bytes.writeUInt16LE(sum & 0xffff, InodeField.ChecksumLo);
    if (hasField(this.#bytes, InodeField.ChecksumHi, 2)) {
      this.#bytes.writeUInt16LE(sum >>> 16, InodeField.ChecksumHi);
    }
  }

  #has(extraField: number): boolean {
    return hasField(this.#bytes, extraField, 4);
  }

  #time(field: number, extraField: number): bigint {
    const extra = this.#has(extraField) ? this.#bytes.readUInt32LE(extraField) : 0;
    return decodeTime(this.#bytes.readInt32LE(field), extra);
  }

  #setTime(field: number, extraField: number, timeNs: bigint): void {
    const { seconds, extra } = encodeTime(timeNs);
    this.#bytes.writeInt32LE(seconds, field);
    if (this.#has(extraField)) this.#bytes.writeUInt32LE(extra, extraField);
  }

  #readBlocks(): number {
    const raw = this.#bytes;
    const units =
      raw.readUInt32LE(InodeField.BlocksLo) + raw.readUInt16LE(InodeField.BlocksHi) * 2 ** 32;
    return (this.flags & InodeFlag.HugeFile) === 0 ? units / SECTORS_PER_BLOCK : units;
  }

  /** In sectors: 48 bits of them hold the largest file, so the flag for larger units is not needed. */
  #writeBlocks(): void {
    this.flags &= ~InodeFlag.HugeFile;
    this.#bytes.writeUInt32LE(this.sectors % 2 ** 32, InodeField.BlocksLo);
    this.#bytes.writeUInt16LE(Math.floor(this.sectors / 2 ** 32), InodeField.BlocksHi);
  }
}

/**
 * Reads an inode that is in use.
 *
 * @throws DaxdError EUCLEAN when there is no such inode, EBADMSG for its checksum, ENOENT
 *   when it is free: it was removed since somebody learnt its number
 * @kernel __ext4_iget (fs/ext4/inode.c)
 */
export function readInode(source: BlockSource, volume: Volume, number: number): Inode {
  const { blockNumber, offset } = locateInode(source, volume, number);
  const { inodeSize, checksumSeed } = volume.superblock;
  const bytes = source.block(blockNumber).subarray(offset, offset + inodeSize);
  verify(bytes, number, checksumSeed);
  const inode = new Inode(volume, number, bytes);
  if (inode.linksCount === 0 || inode.mode === 0) {
    throw new DaxdError('ENOENT', `inode ${number} is not in use (any more)`);
  }
  if (inode.size > FILE_SIZE_MAX) {
    throw new DaxdError('EUCLEAN', `inode ${number}: size ${inode.size}; run e2fsck -fy`);
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
  bytes.writeUInt32LE(randomBytes(4).readUInt32LE(), InodeField.Generation);
  const inode = new Inode(volume, number, bytes);
  inode.mode = mode;
  inode.flags = InodeFlag.Extents;
  inode.iBlock.writeUInt16LE(EXTENT_MAGIC, 0);
  inode.iBlock.writeUInt16LE(EXTENT_ROOT_MAX, 4);
  const nowNs = wallNs(volume);
  inode.atimeNs = nowNs;
  inode.ctimeNs = nowNs;
  inode.mtimeNs = nowNs;
  if (inode.crtimeNs !== undefined) inode.crtimeNs = nowNs;
  return inode;
}

/**
 * Where an inode lies.
 *
 * @throws DaxdError EUCLEAN when there is no such inode
 */
export function locateInode(
  source: BlockSource,
  volume: Volume,
  number: number,
): { blockNumber: number; offset: number } {
  const { inodesCount, inodesPerGroup, inodeSize } = volume.superblock;
  if (!Number.isInteger(number) || number < 1 || number > inodesCount) {
    throw new DaxdError('EUCLEAN', `inode ${number} is named, the filesystem has ${inodesCount}`);
  }
  const group = readGroup(source, volume, Math.floor((number - 1) / inodesPerGroup));
  const byte = ((number - 1) % inodesPerGroup) * inodeSize;
  return {
    blockNumber: group.inodeTable + Math.floor(byte / BLOCK_SIZE),
    offset: byte % BLOCK_SIZE,
  };
}

/** @kernel ext4_inode_csum_verify (fs/ext4/inode.c) */
function verify(bytes: Buffer, number: number, fsSeed: number): void {
  const extraIsize =
    bytes.length > GOOD_OLD_INODE_SIZE ? bytes.readUInt16LE(InodeField.ExtraIsize) : 0;
  if (GOOD_OLD_INODE_SIZE + extraIsize > bytes.length || extraIsize % 4 !== 0) {
    throw new DaxdError('EUCLEAN', `inode ${number}: ${extraIsize} extra bytes; run e2fsck -fy`);
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
  throw new DaxdError('EBADMSG', `checksum mismatch: inode ${number}; repair it with e2fsck -fy`);
}

function inodeChecksum(bytes: Buffer, seed: number): number {
  const low = { offset: InodeField.ChecksumLo, length: 2 };
  if (!hasField(bytes, InodeField.ChecksumHi, 2)) return crc32cExcept(seed, bytes, low);
  const cut = InodeField.ExtraIsize;
  const head = crc32cExcept(seed, bytes.subarray(0, cut), low);
  return crc32cExcept(head, bytes.subarray(cut), {
    offset: InodeField.ChecksumHi - cut,
    length: 2,
  });
}

/** Whether a field behind the old inode is within what this one uses. */
function hasField(bytes: Buffer, offset: number, length: number): boolean {
  if (bytes.length <= GOOD_OLD_INODE_SIZE) return false;
  return offset + length <= GOOD_OLD_INODE_SIZE + bytes.readUInt16LE(InodeField.ExtraIsize);
}

function wallNs(volume: Volume): bigint {
  return BigInt(Math.round(volume.clock.wallMs() * 1000)) * 1000n;
}
