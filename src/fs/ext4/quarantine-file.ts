import { DaxdError } from '../../lib/errno.js';
import { EntryType } from './directory-block.js';
import { Directory } from './directory.js';
import { eachExtent, treeOf } from './extent-tree.js';
import { allocateInode } from './inode-allocator.js';
import { readAnyInode } from './inode.js';
import type { Inode } from './inode.js';
import { FILE_BLOCKS_MAX, InodeFlag, ModeType, ROOT_INODE } from './layout.js';
import { readNamedInode } from './named-inode.js';
import { QUARANTINE_NAME } from './quarantine-state.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

const NAME = Buffer.from(QUARANTINE_NAME);

/**
 * The file that owns quarantined blocks: root's, without permissions, immutable and empty to
 * whoever reads it. Each block stands at its own number, unwritten and past the end of the
 * file, so e2fsck and the kernel take it for preallocated: in use, and nothing to be read.
 */

/**
 * Looks for the file, and at what it has. A file of that name that is anything else is left
 * alone, whatever it is: it says then why nothing can be quarantined here. Changes nothing.
 */
export function loadQuarantine(volume: Volume): void {
  const { quarantine, superblock } = volume;
  try {
    const number = rootDirectory(volume, volume).lookup(NAME)?.inode;
    if (superblock.blocksCount > FILE_BLOCKS_MAX) {
      throw new DaxdError('EOPNOTSUPP', 'nothing is quarantined on a filesystem over 16 TiB');
    }
    if (number === undefined) return;
    const inode = readNamedInode(volume, volume, number);
    quarantine.blocks = quarantinedBlocks(volume, inode);
    quarantine.inode = number;
  } catch (error) {
    if (!(error instanceof DaxdError)) throw error;
    quarantine.refusal = error;
  }
}

/** The file to add blocks to; made where there is none. The caller stores it. @throws DaxdError ENOSPC */
export function openQuarantine(txn: Transaction, volume: Volume): Inode {
  const root = rootDirectory(txn, volume);
  const known = volume.quarantine.inode ?? root.lookup(NAME)?.inode;
  if (known !== undefined) return readAnyInode(txn, volume, known);

  const inode = allocateInode(txn, volume, { mode: ModeType.File, parent: ROOT_INODE });
  inode.linksCount = 1;
  inode.flags |= InodeFlag.Immutable;
  root.insert({ inode: inode.number, entryType: EntryType.Regular, name: NAME });
  root.inode.touch();
  root.inode.store(txn);
  txn.onStored(() => {
    volume.quarantine.inode = inode.number;
  });
  return inode;
}

/** How many blocks the file has. @throws DaxdError EEXIST for a file that is somebody else's */
function quarantinedBlocks(volume: Volume, inode: Inode): number {
  const isOwn =
    inode.mode === ModeType.File &&
    inode.uid === 0 &&
    inode.gid === 0 &&
    inode.size === 0 &&
    inode.linksCount === 1 &&
    inode.hasExtents &&
    (inode.flags & InodeFlag.Immutable) !== 0;
  if (isOwn) {
    const blocks = countAtOwnPlace(volume, inode);
    if (blocks !== undefined) return blocks;
  }
  throw new DaxdError(
    'EEXIST',
    `"${QUARANTINE_NAME}" in the root is not daxd's, nothing can be quarantined: rename it, then mount again`,
  );
}

/** How many blocks stand, unwritten, at their own numbers; undefined where any other does. */
function countAtOwnPlace(volume: Volume, inode: Inode): number | undefined {
  const tree = treeOf(volume, volume, inode);
  let blocks = 0;
  for (const { logical, physical, length, unwritten } of eachExtent(tree)) {
    if (!unwritten || logical !== physical) return undefined;
    blocks += length;
  }
  return blocks;
}

function rootDirectory(source: BlockSource, volume: Volume): Directory {
  return new Directory(source, volume, readNamedInode(source, volume, ROOT_INODE));
}
