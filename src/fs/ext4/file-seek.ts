import { DaxdError } from '../../lib/errno.js';
import { eachExtent, treeOf } from './extent-tree.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import { checkOffset, readRegular } from './regular-file.js';
import type { Volume } from './volume.js';

/**
 * The first byte at or after `offset` that is data: holes and unwritten blocks are passed over.
 *
 * @throws DaxdError ENXIO when there is none or `offset` is not in the file; as `readFile` does
 * @kernel SEEK_DATA, iomap_seek_data (fs/iomap/seek.c)
 */
export function seekData(volume: Volume, number: number, offset: number): number {
  const inode = readSeekable(volume, number, offset);
  const span = { from: Math.floor(offset / BLOCK_SIZE), to: Math.ceil(inode.size / BLOCK_SIZE) };
  for (const { logical, unwritten } of eachExtent(treeOf(volume, volume, inode), span)) {
    if (!unwritten) return Math.max(offset, logical * BLOCK_SIZE);
  }
  throw new DaxdError('ENXIO', `inode ${number}: no data from byte ${offset} on`);
}

/**
 * The first byte at or after `offset` that is in a hole, or in unwritten blocks; the end of
 * the file when there is none before.
 *
 * @throws DaxdError ENXIO when `offset` is not in the file; as `readFile` does
 * @kernel SEEK_HOLE, iomap_seek_hole (fs/iomap/seek.c)
 */
export function seekHole(volume: Volume, number: number, offset: number): number {
  const inode = readSeekable(volume, number, offset);
  let at = Math.floor(offset / BLOCK_SIZE);
  const span = { from: at, to: Infinity };
  for (const { logical, length, unwritten } of eachExtent(treeOf(volume, volume, inode), span)) {
    if (logical > at || unwritten) break;
    at = logical + length;
  }
  return Math.min(inode.size, Math.max(offset, at * BLOCK_SIZE));
}

/** @throws DaxdError ENXIO as lseek, EINVAL, EISDIR */
function readSeekable(volume: Volume, number: number, offset: number): Inode {
  checkOffset(offset);
  const inode = readRegular(volume, volume, number);
  if (offset < inode.size) return inode;
  throw new DaxdError(
    'ENXIO',
    `inode ${number}: byte ${offset} is not in a file of ${inode.size} bytes`,
  );
}
