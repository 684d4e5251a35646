import { DaxdError } from '../../lib/errno.js';
import { readGroup } from './group.js';
import { BLOCK_SIZE } from './layout.js';
import type { Volume } from './volume.js';

/**
 * Where an inode lies.
 *
 * @throws DaxdError EUCLEAN when there is no such inode
 */
export function locateInode(
  volume: Volume,
  number: number,
): { blockNumber: number; offset: number } {
  const { inodesCount, inodesPerGroup, inodeSize } = volume.superblock;
  if (!Number.isInteger(number) || number < 1 || number > inodesCount) {
    throw new DaxdError('EUCLEAN', `inode ${number} is named, the filesystem has ${inodesCount}`);
  }
  const table = inodeTable(volume, Math.floor((number - 1) / inodesPerGroup));
  const byte = ((number - 1) % inodesPerGroup) * inodeSize;
  return {
    blockNumber: table + Math.floor(byte / BLOCK_SIZE),
    offset: byte % BLOCK_SIZE,
  };
}

function inodeTable(volume: Volume, group: number): number {
  const known = volume.inodeTables[group] ?? 0;
  if (known !== 0) return known;
  const table = readGroup(volume, volume, group).inodeTable;
  const { inodeTableBlocks } = volume.superblock;
  volume.assertBlocks(table, inodeTableBlocks, `inode table of group ${group}`);
  volume.inodeTables[group] = table;
  return table;
}
