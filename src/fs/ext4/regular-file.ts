import { DaxdError } from '../../lib/errno.js';
import { isAligned } from '../../lib/units.js';
import { assertExtents } from './extent-tree.js';
import type { BlockSpan } from './extent.js';
import { refuseFlags } from './inode-flags.js';
import { readInode } from './inode.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE, FILE_SIZE_MAX, InodeFlag } from './layout.js';
import type { BlockSource } from './transaction.js';
import type { ChangeStage, Volume } from './volume.js';

/**
 * Reads the inode of a regular file.
 *
 * @throws DaxdError EISDIR for a directory, EINVAL for another type, and as `readInode` does
 */
export function readRegular(source: BlockSource, volume: Volume, number: number): Inode {
  const inode = readInode(source, volume, number);
  if (inode.type === 'directory') throw new DaxdError('EISDIR', `inode ${number} is a directory`);
  if (inode.type !== 'file') {
    throw new DaxdError('EINVAL', `inode ${number} is a ${inode.type}, not a regular file`);
  }
  return inode;
}

/** How a file is about to be changed. */
export interface WriteIntent extends ChangeStage {
  /** Only by adding to its end, which an append-only file allows. */
  readonly append?: boolean;
}

/**
 * Reads the inode of a regular file that is about to be changed.
 *
 * @throws DaxdError EROFS, ESHUTDOWN, EPERM for an immutable or append-only file, EOPNOTSUPP for one
 *   with a block map
 */
export function readWritable(
  source: BlockSource,
  volume: Volume,
  number: number,
  { append = false, isUnderWay = false }: WriteIntent = {},
): Inode {
  volume.assertWritable({ isUnderWay });
  const inode = readRegular(source, volume, number);
  refuseFlags(inode, append ? InodeFlag.Immutable : InodeFlag.Immutable | InodeFlag.Append);
  assertExtents(inode);
  return inode;
}

/**
 * Reads the file that an operation began with, after a wait.
 *
 * @throws DaxdError ENOENT when the inode is another file by now
 */
export function rereadWritable(
  source: BlockSource,
  volume: Volume,
  before: Inode,
  intent: WriteIntent = {},
): Inode {
  const inode = readWritable(source, volume, before.number, intent);
  if (inode.generation !== before.generation) {
    throw new DaxdError('ENOENT', `inode ${before.number} was removed meanwhile`);
  }
  return inode;
}

/** @throws DaxdError EINVAL when a place in a file is no whole number from 0 on */
export function checkOffset(offset: number): void {
  if (Number.isSafeInteger(offset) && offset >= 0) return;
  throw new DaxdError('EINVAL', `${offset} is no place in a file: give whole bytes from 0 on`);
}

/**
 * Checks a range of bytes that an operation may write to, and gives its end.
 *
 * @throws DaxdError EINVAL when it is not made of whole numbers from 0 on, EFBIG past 16 TiB
 */
export function checkRange(offset: number, length: number): number {
  checkOffset(offset);
  checkOffset(length);
  const end = offset + length;
  if (end > FILE_SIZE_MAX) {
    throw new DaxdError(
      'EFBIG',
      `a file ends at byte ${FILE_SIZE_MAX} at the latest, not at ${end}`,
    );
  }
  return end;
}

/**
 * Checks a range as {@link checkRange} does, and that it is whole blocks, which it gives.
 *
 * @throws DaxdError EINVAL when it is not, or is empty, EFBIG
 */
export function checkWholeBlocks(offset: number, length: number): BlockSpan {
  const end = checkRange(offset, length);
  if (length === 0 || !isAligned(offset, BLOCK_SIZE) || !isAligned(length, BLOCK_SIZE)) {
    throw new DaxdError(
      'EINVAL',
      `bytes ${offset} to ${end} are no whole blocks: give multiples of ${BLOCK_SIZE}`,
    );
  }
  return { from: offset / BLOCK_SIZE, to: end / BLOCK_SIZE };
}
