import { damaged } from '../damage.js';
import { assertOrphanNumber } from './orphan-number.js';
import { readAnyInode } from './inode.js';
import type { Inode } from './inode.js';
import { SUPERBLOCK_BLOCK, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, SuperField } from './layout.js';
import { sealSuperblock } from './superblock.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

const HEAD = SUPERBLOCK_OFFSET + SuperField.LastOrphan;

/**
 * The classic list of orphaned inodes: the superblock has the first one, and each has the
 * next one in its i_dtime, the last one 0. Each change of the head changes the superblock.
 */

/**
 * The numbers on the list, the newest first. Ends on any media: a number that comes again, or
 * is no inode's, is refused.
 *
 * @throws DaxdError EUCLEAN, EBADMSG
 * @kernel s_last_orphan, NEXT_ORPHAN (fs/ext4/ext4.h)
 */
export function listedOrphans(source: BlockSource, volume: Volume): number[] {
  const numbers = new Set<number>();
  let number = headOf(source);
  while (number !== 0) {
    assertOrphanNumber(volume, number);
    if (numbers.has(number)) {
      throw damaged(`orphan list: inode ${number} comes twice in it, it has no end`);
    }
    numbers.add(number);
    number = readAnyInode(source, volume, number).dtime;
  }
  return [...numbers];
}

/**
 * Notes the order of the list that the mount found: what recovery leaves on it is known then.
 *
 * @throws DaxdError EUCLEAN, EBADMSG
 */
export function learnList(volume: Volume): void {
  let before: number | undefined;
  for (const number of listedOrphans(volume, volume)) {
    if (before !== undefined) volume.orphanLinks.link(before, number);
    before = number;
  }
}

/** Whether an inode is on the list, which was {@link learnList | learned} if it was not empty. */
export function isListed(source: BlockSource, volume: Volume, number: number): boolean {
  return headOf(source) === number || knownBefore(source, volume, number) !== undefined;
}

/** Puts an inode first, which is not on the list. The caller stores the inode. */
export function addToList(txn: Transaction, volume: Volume, inode: Inode): void {
  const { number } = inode;
  const next = headOf(txn);
  inode.dtime = next;
  setHead(txn, number);
  txn.onStored(() => {
    volume.orphanLinks.link(number, next);
  });
}

/** Takes an inode out, if it is on the list. The caller stores the inode. */
export function removeFromList(txn: Transaction, volume: Volume, inode: Inode): void {
  const { number } = inode;
  const head = headOf(txn);
  if (head === 0) return;
  const next = readAnyInode(txn, volume, number).dtime;
  const before = head === number ? undefined : findBefore(txn, volume, number);
  if (before !== undefined) {
    const previous = readAnyInode(txn, volume, before);
    previous.dtime = next;
    previous.store(txn);
  } else if (head === number) {
    setHead(txn, next);
  } else {
    return;
  }
  inode.dtime = 0;
  txn.onStored(() => {
    volume.orphanLinks.unlink(number, before, next);
  });
}

function knownBefore(source: BlockSource, volume: Volume, number: number): number | undefined {
  const before = volume.orphanLinks.before(number);
  if (before === undefined) return undefined;
  return readAnyInode(source, volume, before).dtime === number ? before : undefined;
}

function findBefore(source: BlockSource, volume: Volume, number: number): number | undefined {
  const known = knownBefore(source, volume, number);
  if (known !== undefined) return known;
  const numbers = listedOrphans(source, volume);
  return numbers[numbers.indexOf(number) - 1];
}

function headOf(source: BlockSource): number {
  return source.block(SUPERBLOCK_BLOCK).readUInt32LE(HEAD);
}

function setHead(txn: Transaction, number: number): void {
  const block = txn.modify(SUPERBLOCK_BLOCK);
  block.writeUInt32LE(number, HEAD);
  txn.sealAtCommit('superblock', () => {
    sealSuperblock(block.subarray(SUPERBLOCK_OFFSET, SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE));
  });
}
