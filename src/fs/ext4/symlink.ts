import { DaxdError } from '../../lib/errno.js';
import { damaged } from '../damage.js';
import { allocateBlocks } from './allocator.js';
import { spliceExtents } from './extent-splice.js';
import { goalOf, mapExtents, treeOf, WHOLE_FILE } from './extent-tree.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE, I_BLOCK_SIZE, InodeFlag } from './layout.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** Bytes of the longest target: it shares its block with a NUL. */
const TARGET_BYTES_MAX = BLOCK_SIZE - 1;

/**
 * The bytes of a symlink as they are stored in a new inode: UTF-8.
 *
 * @throws DaxdError EINVAL for an empty target and for NUL, ENAMETOOLONG over 4095 bytes
 */
export function encodeTarget(target: string): Buffer {
  const bytes = Buffer.from(target);
  if (bytes.length === 0 || bytes.includes(0) || /\p{Surrogate}/u.test(target)) {
    throw new DaxdError('EINVAL', `${JSON.stringify(target)} is no target for a symlink`);
  }
  if (bytes.length > TARGET_BYTES_MAX) {
    throw new DaxdError(
      'ENAMETOOLONG',
      `a symlink target of ${bytes.length} bytes, over ${TARGET_BYTES_MAX}`,
    );
  }
  return bytes;
}

/**
 * Puts a target into a new symlink's inode, or when it has 60 bytes or more, into a block of
 * its own. The caller stores the inode.
 *
 * @throws DaxdError ENOSPC
 * @kernel ext4_symlink (fs/ext4/namei.c)
 */
export function writeTarget(txn: Transaction, volume: Volume, inode: Inode, target: Buffer): void {
  inode.size = target.length;
  if (target.length < I_BLOCK_SIZE) {
    inode.flags &= ~InodeFlag.Extents;
    inode.iBlock.fill(0);
    inode.iBlock.set(target);
    return;
  }
  const { start } = allocateBlocks(txn, volume, { goal: goalOf(volume, inode), count: 1 });
  txn.fresh(start).set(target);
  spliceExtents(txn, volume, { inode, span: WHOLE_FILE }, [
    { logical: 0, physical: start, length: 1, unwritten: false },
  ]);
}

/**
 * The target of a symlink, as bytes.
 *
 * @throws DaxdError EUCLEAN when its size does not fit where it lies; EBADMSG
 */
export function readTarget(source: BlockSource, volume: Volume, inode: Inode): Buffer {
  const sizeMax = inode.hasBlocks ? TARGET_BYTES_MAX : I_BLOCK_SIZE - 1;
  if (inode.size < 1 || inode.size > sizeMax) {
    throw damaged(`symlink inode ${inode.number}: a target of ${inode.size} bytes`);
  }
  if (!inode.hasBlocks) return Buffer.from(inode.iBlock.subarray(0, inode.size));
  const [extent] = mapExtents(treeOf(source, volume, inode), { from: 0, to: 1 });
  if (extent?.logical !== 0 || extent.unwritten) {
    throw damaged(`symlink inode ${inode.number}: no block`);
  }
  return Buffer.from(source.block(extent.physical).subarray(0, inode.size));
}
