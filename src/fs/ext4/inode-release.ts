import { DaxdError } from '../../lib/errno.js';
import { freeBlocks, METADATA } from './allocator.js';
import type { FreeLeave } from './allocator.js';
import { crc32cExcept, crc32cU64 } from './checksum.js';
import { mapExtents, replaceExtents } from './extent-tree.js';
import type { Inode } from './inode.js';
import { XATTR_MAGIC, XattrField } from './layout.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/**
 * Frees all blocks of an inode that is about to be freed itself: data, extent tree and the
 * block of extended attributes. Gives the number of data blocks. `leave` is a broken layout
 * over the whole file, or METADATA for a directory.
 *
 * @throws DaxdError EBADMSG, EUCLEAN
 */
export function releaseInodeBlocks(
  txn: Transaction,
  volume: Volume,
  inode: Inode,
  leave: FreeLeave,
): number {
  let freed = 0;
  if (inode.hasExtents) {
    for (const { physical, length } of mapExtents(txn, volume, inode)) {
      freeBlocks(txn, volume, { start: physical, count: length }, leave);
      freed += length;
    }
    replaceExtents(txn, volume, inode, []);
  }
  releaseXattrBlock(txn, volume, inode);
  inode.blocks = 0;
  return freed;
}

/**
 * A block of attributes may serve many inodes: the last one frees it.
 *
 * @kernel ext4_xattr_release_block (fs/ext4/xattr.c)
 */
function releaseXattrBlock(txn: Transaction, volume: Volume, inode: Inode): void {
  const number = inode.fileAcl;
  if (number === 0) return;
  volume.assertBlocks(number, 1);
  const block = txn.block(number);
  verifyXattrBlock(block, { number, inode: inode.number, fsSeed: volume.superblock.checksumSeed });
  const references = block.readUInt32LE(XattrField.RefCount);
  if (references > 1) {
    const changed = txn.modify(number);
    changed.writeUInt32LE(references - 1, XattrField.RefCount);
    const sum = xattrChecksum(changed, number, volume.superblock.checksumSeed);
    changed.writeUInt32LE(sum, XattrField.Checksum);
  } else {
    freeBlocks(txn, volume, { start: number, count: 1 }, METADATA);
  }
  inode.fileAcl = 0;
}

function verifyXattrBlock(
  block: Buffer,
  { number, inode, fsSeed }: { number: number; inode: number; fsSeed: number },
): void {
  if (block.readUInt32LE(XattrField.Magic) !== XATTR_MAGIC) {
    throw new DaxdError('EUCLEAN', `attribute block of inode ${inode}: no header; run e2fsck -fy`);
  }
  if (block.readUInt32LE(XattrField.Checksum) === xattrChecksum(block, number, fsSeed)) return;
  throw new DaxdError(
    'EBADMSG',
    `checksum mismatch: attribute block of inode ${inode}; repair it with e2fsck -fy`,
  );
}

function xattrChecksum(block: Buffer, number: number, fsSeed: number): number {
  const seed = crc32cU64(fsSeed, number);
  return crc32cExcept(seed, block, { offset: XattrField.Checksum, length: 4 });
}
