import type { Inode } from './inode.js';
import { OrphanFile } from './orphan-file.js';
import { addToList, isListed, listedOrphans, removeFromList } from './orphan-list.js';
import { assertOrphanNumber } from './orphan-number.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/**
 * Orphans: inodes that whoever mounts after a crash has to finish with. Without links they are
 * evicted; with links a truncate of theirs was cut short, and ends at their size. They stand in
 * the orphan file where the filesystem has one with room, else on the list of the superblock.
 */

/**
 * Notes that an inode must be finished with, unless that is noted. The caller stores the
 * inode afterwards, in the same transaction.
 *
 * @throws DaxdError EBADMSG, EUCLEAN
 * @kernel ext4_orphan_add (fs/ext4/orphan.c)
 */
export function addOrphan(txn: Transaction, volume: Volume, inode: Inode): void {
  if (isListed(txn, volume, inode.number)) return;
  if (OrphanFile.open(txn, volume)?.add(txn, inode.number) === true) return;
  addToList(txn, volume, inode);
}

/**
 * Notes that an inode is finished with, if it was not before. The caller stores the inode
 * afterwards, in the same transaction.
 *
 * @throws DaxdError EBADMSG, EUCLEAN
 * @kernel ext4_orphan_del (fs/ext4/orphan.c)
 */
export function removeOrphan(txn: Transaction, volume: Volume, inode: Inode): void {
  OrphanFile.open(txn, volume)?.remove(txn, inode.number);
  removeFromList(txn, volume, inode);
}

/**
 * All orphans, each once: no number of an inode that none can be.
 *
 * @throws DaxdError EUCLEAN, also for a list without an end; EBADMSG
 */
export function orphanNumbers(source: BlockSource, volume: Volume): number[] {
  const inFile = OrphanFile.open(source, volume)?.numbers() ?? [];
  for (const number of inFile) assertOrphanNumber(volume, number);
  return [...new Set([...listedOrphans(source, volume), ...inFile])];
}

/** Whether the orphan file holds any: then ORPHAN_PRESENT stays set in the superblock. */
export function holdsOrphans(source: BlockSource, volume: Volume): boolean {
  return (OrphanFile.open(source, volume)?.numbers().length ?? 0) > 0;
}
