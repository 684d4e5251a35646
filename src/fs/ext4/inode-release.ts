import { METADATA } from './allocator.js';
import type { FreeLeave } from './allocator.js';
import { WHOLE_FILE } from './extent-tree.js';
import { freeSpan } from './free-span.js';
import type { Inode } from './inode.js';
import { leavePinned } from './leave-pinned.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';
import { releaseXattrBlock } from './xattr-block.js';

/** Blocks of a transaction left to the names, directories and lists that change with it. */
const NAME_BLOCKS = 32;

/**
 * Frees the blocks of an inode that is about to be freed itself, as many as one transaction
 * holds: data from the end on, extent tree, then the block of extended attributes. True when
 * all are gone. `leave` is a broken layout over the whole file, or METADATA for what is no
 * file; of one that defers, pinned blocks go into the quarantine. The caller stores the inode.
 *
 * @throws DaxdError `quarantine-full`, EBADMSG, EUCLEAN, EOPNOTSUPP for a file with a block map of
 *   which something is pinned
 */
export function releaseInodeBlocks(
  txn: Transaction,
  volume: Volume,
  inode: Inode,
  leave: FreeLeave,
): boolean {
  if (inode.hasBlocks) {
    if (leave !== METADATA) leavePinned(txn, volume, { inode, span: WHOLE_FILE }, leave);
    const { isLast } = freeSpan(
      txn,
      volume,
      { inode, span: WHOLE_FILE, spare: NAME_BLOCKS },
      leave,
    );
    if (!isLast) return false;
  }
  releaseXattrBlock(txn, volume, inode);
  inode.blocks = 0;
  return true;
}
