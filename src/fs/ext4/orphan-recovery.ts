import { DaxdError } from '../../lib/errno.js';
import { roundDown, roundUp } from '../../lib/units.js';
import { damaged, isDamage } from '../damage.js';
import { testBit } from './bitmap.js';
import { evictOrphan } from './evict-orphan.js';
import { zeroRest } from './file-zero.js';
import { freeSpan, inTransactions } from './free-span.js';
import { readInodeBitmap } from './group-bitmaps.js';
import { readAnyInode } from './inode.js';
import { tryBreakFileLayouts } from './layout-break.js';
import { BLOCK_SIZE } from './layout.js';
import { OrphanFile } from './orphan-file.js';
import { learnList } from './orphan-list.js';
import { orphanNumbers, removeOrphan } from './orphans.js';
import type { Volume } from './volume.js';

/** What {@link findOrphans} finds. */
export interface FoundOrphans {
  readonly numbers: readonly number[];
  /** What is wrong with one of them; then there is none to be finished with. */
  readonly damage: string | undefined;
}

/**
 * The orphans to finish with. One that is damaged is no reason to refuse the mount, but nothing
 * may be written then: the list leads to all that is to be put right. Nothing is changed.
 *
 * @throws DaxdError EUCLEAN, EBADMSG for a file of orphans that is itself damaged
 */
export function findOrphans(volume: Volume): FoundOrphans {
  OrphanFile.open(volume, volume)?.numbers();
  try {
    return { numbers: checkOrphans(volume), damage: undefined };
  } catch (error) {
    return { numbers: [], damage: damageOf(error) };
  }
}

/**
 * The orphans that a crash, or an unmount with pinned pages, left. Nothing is changed.
 *
 * @throws DaxdError EUCLEAN for a list without an end and for what can be no orphan; EBADMSG
 */
export function checkOrphans(volume: Volume): number[] {
  const numbers = orphanNumbers(volume, volume);
  for (const number of numbers) assertOrphan(volume, number);
  return numbers;
}

/**
 * Finishes with orphans that were checked: those without links are freed, or left to
 * {@link OpenFiles} where leases of an earlier run pin them; a cut that had begun is carried to
 * its end. To be called before the filesystem is used. Ends where one turns out
 * to be damaged, which stays on the list with those after it, and gives what is wrong with it.
 *
 * @throws DaxdError EIO
 * @kernel ext4_orphan_cleanup (fs/ext4/orphan.c)
 */
export async function recoverOrphans(
  volume: Volume,
  numbers: readonly number[],
): Promise<string | undefined> {
  if (numbers.length > 0) learnList(volume);
  for (const number of numbers) {
    try {
      await recover(volume, number);
    } catch (error) {
      return `orphan inode ${number}: ${damageOf(error)}`;
    }
  }
  return undefined;
}

/** What an error says of the media. @throws what says nothing of them */
function damageOf(error: unknown): string {
  if (isDamage(error)) return error.message;
  if (error instanceof DaxdError && error.code === 'EOPNOTSUPP') return error.message;
  throw error;
}

async function recover(volume: Volume, number: number): Promise<void> {
  const { linksCount, size } = readAnyInode(volume, volume, number);
  const from = linksCount === 0 ? 0 : roundDown(size, BLOCK_SIZE);
  const change = { op: 'truncate', inode: number, from, to: Infinity } as const;
  const layout = tryBreakFileLayouts(volume, change);
  if (layout === undefined) {
    refusePinnedCut(number, linksCount);
    volume.openFiles.nameGone(number);
    return;
  }
  try {
    if (linksCount === 0) {
      await evictOrphan(volume, number, layout);
      return;
    }
    const span = { from: roundUp(size, BLOCK_SIZE) / BLOCK_SIZE, to: Infinity };
    await inTransactions(volume, (txn) => {
      const inode = readAnyInode(txn, volume, number);
      const piece = freeSpan(txn, volume, { inode, span }, layout);
      if (piece.isLast) removeOrphan(txn, volume, inode);
      inode.store(txn);
      return piece;
    });
    await zeroRest(volume, number, { from: size, to: roundUp(size, BLOCK_SIZE) });
  } finally {
    layout.lift();
  }
}

/** A cut begins once nothing is pinned past the new end, so whatever is pinned there came later. */
function refusePinnedCut(number: number, linksCount: number): void {
  if (linksCount === 0) return;
  throw new DaxdError(
    'EUCLEAN',
    `inode ${number} was being cut, and pages past its end are leased: release them, then mount again`,
  );
}

/**
 * An orphan is in use, and where it has links it is a file that can be cut.
 *
 * @throws DaxdError EUCLEAN, EBADMSG
 * @kernel ext4_orphan_get (fs/ext4/ialloc.c)
 */
function assertOrphan(volume: Volume, number: number): void {
  const inode = readAnyInode(volume, volume, number);
  const { inodesPerGroup } = volume.superblock;
  const bits = readInodeBitmap(volume, volume, Math.floor((number - 1) / inodesPerGroup));
  const isUsed = testBit(bits, (number - 1) % inodesPerGroup) && inode.mode !== 0;
  const canBeCut = isUsed && inode.type === 'file';
  if (isUsed && (inode.linksCount === 0 || canBeCut)) return;
  throw damaged(
    `orphan list: inode ${number} ${isUsed ? `is a ${inode.type} with links` : 'is free'}`,
  );
}
