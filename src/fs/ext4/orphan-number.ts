import { damaged } from '../damage.js';
import { isOwnInode } from './named-inode.js';
import { ROOT_INODE } from './layout.js';
import type { Volume } from './volume.js';

/**
 * Refuses what no orphan can be: a number outside of the filesystem, or that of an inode which
 * belongs to it.
 *
 * @throws DaxdError EUCLEAN
 */
export function assertOrphanNumber(volume: Volume, number: number): void {
  const { inodesCount } = volume.superblock;
  if (number <= inodesCount && number !== ROOT_INODE && !isOwnInode(volume, number)) return;
  throw damaged(`orphan list: inode ${number} is no file's; the filesystem has ${inodesCount}`);
}
