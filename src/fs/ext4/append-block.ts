import { allocateBlocks } from './allocator.js';
import { damagedTree } from './extent-node.js';
import { spliceExtents } from './extent-splice.js';
import { goalOf, lastExtents, treeOf, WHOLE_FILE } from './extent-tree.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/**
 * Adds one block to the end of a directory, whose size grows by it, and gives its physical
 * number. Nothing is written to it. The caller stores the inode.
 *
 * @throws DaxdError ENOSPC
 */
export function appendBlock(txn: Transaction, volume: Volume, inode: Inode): number {
  const logical = inode.size / BLOCK_SIZE;
  const last = lastExtents(treeOf(txn, volume, inode), WHOLE_FILE).at(-1);
  const end = last === undefined ? 0 : last.logical + last.length;
  if (end !== logical) {
    throw damagedTree({ inode: inode.number }, `it maps ${end} blocks, its size ${logical}`);
  }
  const goal = last === undefined ? goalOf(volume, inode) : last.physical + last.length;
  const { start } = allocateBlocks(txn, volume, { goal, count: 1 });
  const span = { from: logical, to: logical + 1 };
  spliceExtents(txn, volume, { inode, span }, [
    { logical, physical: start, length: 1, unwritten: false },
  ]);
  inode.size += BLOCK_SIZE;
  return start;
}
