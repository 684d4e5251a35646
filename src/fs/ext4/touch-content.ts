import { InodeXattrs, mayHaveXattrs } from './inode-xattrs.js';
import type { Inode } from './inode.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';
import { XattrIndex } from './xattr-name.js';

const CAPABILITY = { index: XattrIndex.Security, name: Buffer.from('capability') };

/**
 * A file's content changes: mtime and ctime become now, and a program that ran with capabilities
 * loses them, for it is another one. The set-id bits stay, as Linux leaves them to root, which
 * daxd acts as. The caller stores the inode.
 *
 * @throws DaxdError ENOSPC where a block of attributes that others share must be copied for it,
 *   EBADMSG, EUCLEAN for attributes that are damaged
 * @kernel file_remove_privs (fs/inode.c)
 */
export function touchContent(txn: Transaction, volume: Volume, inode: Inode): void {
  inode.touch();
  dropCapability(txn, volume, inode);
}

/** Takes its capabilities from an inode. @kernel cap_inode_killpriv (security/commoncap.c) */
export function dropCapability(txn: Transaction, volume: Volume, inode: Inode): void {
  if (!mayHaveXattrs(inode)) return;
  const xattrs = new InodeXattrs(txn, volume, inode);
  if (xattrs.get(CAPABILITY) !== undefined) xattrs.remove(txn, CAPABILITY);
}
