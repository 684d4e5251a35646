import { InodeXattrs } from './inode-xattrs.js';
import type { Inode } from './inode.js';
import { inheritAcl } from './posix-acl.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';
import { XattrIndex } from './xattr-name.js';

const NO_NAME = Buffer.alloc(0);
const ACCESS = { index: XattrIndex.PosixAclAccess, name: NO_NAME };
const DEFAULT = { index: XattrIndex.PosixAclDefault, name: NO_NAME };

/**
 * Gives a new inode what its directory says that new ones get: an access control list and the
 * mode that goes with it, and a directory the default list again. The caller stores the inode.
 *
 * @throws DaxdError ENOSPC, EBADMSG, EUCLEAN
 * @kernel ext4_init_acl (fs/ext4/acl.c)
 */
export function inheritAcls(txn: Transaction, volume: Volume, parent: Inode, inode: Inode): void {
  if (inode.type === 'symlink') return;
  const list = new InodeXattrs(txn, volume, parent).get(DEFAULT);
  if (list === undefined) return;
  const xattrs = new InodeXattrs(txn, volume, inode);
  const { mode, acl } = inheritAcl(list, inode.mode, `inode ${parent.number}`);
  inode.mode = mode;
  if (inode.type === 'directory') xattrs.set(txn, { ...DEFAULT, value: list });
  if (acl !== undefined) xattrs.set(txn, { ...ACCESS, value: acl });
}
