import { DaxdError } from '../../lib/errno.js';
import { checksumMismatch, damaged } from '../damage.js';
import { allocateBlocks, freeBlocks, METADATA } from './allocator.js';
import { BlockKind, blockRole } from './buffer-cache.js';
import { crc32cExcept, crc32cU64 } from './checksum.js';
import { goalOf } from './extent-tree.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE, XATTR_HEADER_SIZE, XATTR_MAGIC, XattrField } from './layout.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';
import { decodeXattrs, encodeXattrs, xattrBlockHash, xattrsFit } from './xattr-area.js';
import type { Xattr } from './xattr-area.js';

const PLACE = { first: XATTR_HEADER_SIZE, origin: 0 };
/** One block may belong to many inodes: its checksum names none. */
const ROLE = blockRole(BlockKind.XattrBlock, 0);

/**
 * The attributes in an inode's block; none without a block.
 *
 * @throws DaxdError EBADMSG, EUCLEAN
 */
export function readBlockXattrs(source: BlockSource, volume: Volume, inode: Inode): Xattr[] {
  if (inode.fileAcl === 0) return [];
  const block = readXattrBlock(source, volume, inode);
  return decodeXattrs(block, PLACE, `inode ${inode.number}, in their block`);
}

/** Whether attributes have room in one block. */
export function fitBlock(xattrs: readonly Xattr[]): boolean {
  return xattrsFit(BLOCK_SIZE, PLACE, xattrs);
}

/**
 * Gives an inode a block with these attributes, which fit: its own one again, or a new one
 * where it has none or shares it; no block where there are none. The caller stores the inode.
 *
 * @throws DaxdError ENOSPC, EBADMSG, EUCLEAN
 * @kernel ext4_xattr_block_set (fs/ext4/xattr.c)
 */
export function storeBlockXattrs(
  txn: Transaction,
  volume: Volume,
  inode: Inode,
  xattrs: readonly Xattr[],
): void {
  if (xattrs.length === 0 || isShared(txn, volume, inode)) releaseXattrBlock(txn, volume, inode);
  if (xattrs.length === 0) return;
  const block = inode.fileAcl === 0 ? addBlock(txn, volume, inode) : txn.modify(inode.fileAcl);
  const hashes = encodeXattrs(block, PLACE, xattrs.toSorted(byKey), { isHashed: true });
  block.fill(0, 0, XATTR_HEADER_SIZE);
  block.writeUInt32LE(XATTR_MAGIC, XattrField.Magic);
  block.writeUInt32LE(1, XattrField.RefCount);
  block.writeUInt32LE(1, XattrField.Blocks);
  block.writeUInt32LE(xattrBlockHash(hashes), XattrField.Hash);
  sealXattrBlock(volume, inode.fileAcl, block);
}

/**
 * Takes an inode's block of attributes from it. The block may serve many inodes: the last one
 * frees it. The caller stores the inode.
 *
 * @throws DaxdError EBADMSG, EUCLEAN
 * @kernel ext4_xattr_release_block (fs/ext4/xattr.c)
 */
export function releaseXattrBlock(txn: Transaction, volume: Volume, inode: Inode): void {
  const number = inode.fileAcl;
  if (number === 0) return;
  const references = readXattrBlock(txn, volume, inode).readUInt32LE(XattrField.RefCount);
  if (references > 1) {
    const changed = txn.modify(number);
    changed.writeUInt32LE(references - 1, XattrField.RefCount);
    sealXattrBlock(volume, number, changed);
  } else {
    freeBlocks(txn, volume, { start: number, count: 1 }, METADATA);
  }
  inode.fileAcl = 0;
  inode.blocks = Math.max(0, inode.blocks - 1);
}

/** The order in which the kernel looks for them in a block. */
function byKey(a: Xattr, b: Xattr): number {
  if (a.index !== b.index) return a.index - b.index;
  if (a.name.length !== b.name.length) return a.name.length - b.name.length;
  return Buffer.compare(a.name, b.name);
}

function isShared(txn: Transaction, volume: Volume, inode: Inode): boolean {
  if (inode.fileAcl === 0) return false;
  return readXattrBlock(txn, volume, inode).readUInt32LE(XattrField.RefCount) > 1;
}

function addBlock(txn: Transaction, volume: Volume, inode: Inode): Buffer {
  const { start } = allocateBlocks(txn, volume, { goal: goalOf(volume, inode), count: 1 });
  inode.fileAcl = start;
  inode.blocks++;
  return txn.fresh(start);
}

/** The verified block of an inode that has one. */
function readXattrBlock(source: BlockSource, volume: Volume, inode: Inode): Buffer {
  const number = inode.fileAcl;
  const { blocksCount } = volume.superblock;
  if (number >= blocksCount)
    throw damagedBlock(inode, `block ${number}, the filesystem has ${blocksCount}`);
  if (volume.systemZone.overlaps(number, 1)) {
    throw damagedBlock(inode, `block ${number} is one of the filesystem's tables`);
  }
  const block = source.block(number);
  if (source.isVerified(number, ROLE)) return block;
  if (block.readUInt32LE(XattrField.Magic) !== XATTR_MAGIC) throw damagedBlock(inode, 'no header');
  if (block.readUInt32LE(XattrField.Checksum) !== checksumOf(volume, number, block)) {
    throw checksumMismatch(`attribute block of inode ${inode.number}`);
  }
  const blocks = block.readUInt32LE(XattrField.Blocks);
  if (blocks !== 1) throw damagedBlock(inode, `it has ${blocks} blocks, not one`);
  if (block.readUInt32LE(XattrField.RefCount) === 0)
    throw damagedBlock(inode, 'nobody refers to it');
  source.markVerified(number, ROLE);
  return block;
}

/** @kernel ext4_xattr_block_csum (fs/ext4/xattr.c) */
function checksumOf(volume: Volume, number: number, block: Buffer): number {
  const seed = crc32cU64(volume.superblock.checksumSeed, number);
  return crc32cExcept(seed, block, { offset: XattrField.Checksum, length: 4 });
}

function sealXattrBlock(volume: Volume, number: number, block: Buffer): void {
  block.writeUInt32LE(checksumOf(volume, number, block), XattrField.Checksum);
}

function damagedBlock(inode: Inode, problem: string): DaxdError {
  return damaged(`attribute block of inode ${inode.number}: ${problem}`);
}
