import type { BrokenLayout } from '../../dax/broken-layout.js';
import { assert } from '../../lib/assert.js';
import { leaveOf } from './allocator.js';
import type { FreeLeave } from './allocator.js';
import { freeInode } from './inode-allocator.js';
import { releaseInodeBlocks } from './inode-release.js';
import { readAnyInode } from './inode.js';
import { removeOrphan } from './orphans.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/**
 * Frees an inode without a name that is on the orphan list, and all that it has, in as many
 * transactions as that takes.
 *
 * @throws DaxdError EBADMSG, EUCLEAN, EROFS, ESHUTDOWN, EIO; it is on the list still
 * @kernel ext4_evict_inode (fs/ext4/inode.c)
 */
export async function evictOrphan(
  volume: Volume,
  number: number,
  layout: BrokenLayout,
): Promise<void> {
  for (;;) {
    const isDone = await volume.transact((txn) => evictPiece(txn, volume, number, layout));
    if (isDone) return;
  }
}

/** As much of it as one transaction holds; true when that was all. */
function evictPiece(
  txn: Transaction,
  volume: Volume,
  number: number,
  layout: BrokenLayout,
): boolean {
  const inode = readAnyInode(txn, volume, number);
  assert(inode.linksCount === 0, 'a file is evicted once its last name is gone');
  const leave: FreeLeave = leaveOf(inode, layout);
  if (!releaseInodeBlocks(txn, volume, inode, leave)) {
    inode.store(txn);
    return false;
  }
  removeOrphan(txn, volume, inode);
  freeInode(txn, volume, inode);
  txn.onStored(() => {
    volume.openFiles.evicted(number);
  });
  return true;
}
