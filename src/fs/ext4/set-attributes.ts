import { DaxdError } from '../../lib/errno.js';
import { refuseFlags } from './inode-flags.js';
import { InodeXattrs } from './inode-xattrs.js';
import type { Inode } from './inode.js';
import { InodeFlag, ModeType } from './layout.js';
import { readFileInode } from './named-inode.js';
import { chmodAcl } from './posix-acl.js';
import { dropCapability } from './touch-content.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';
import { XattrIndex } from './xattr-name.js';

/** What {@link setAttributes} sets; what is left out stays. */
export interface AttributeChange {
  /** Permission bits, set-id and sticky bits; type bits are ignored. */
  readonly mode?: number | undefined;
  /** 0 to 2^32 - 2. */
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** Nanoseconds since 1970; the format ends in May 2446, or in 2038 in a small inode. */
  readonly atimeNs?: bigint | undefined;
  readonly mtimeNs?: bigint | undefined;
}

const PERMISSIONS = 0o7777;
const SETUID = 0o4000;
const SETGID = 0o2000;
const GROUP_EXECUTE = 0o010;
/** The largest number of a user: the one above it says "leave it" in chown(2). */
const ID_MAX = 2 ** 32 - 2;

/**
 * Sets permissions, owner and times as chmod, chown and utimensat do for root; ctime becomes
 * now. Settles when that is durable. A new owner takes the set-id bits and the capabilities
 * from what is no directory, and a new mode goes into an access control list, as in Linux.
 *
 * @throws DaxdError EINVAL for an owner, EOPNOTSUPP for the mode of a symlink, EPERM for an
 *   immutable inode, ENOENT, EROFS, EBADMSG, EUCLEAN, EIO
 * @kernel ext4_setattr (fs/ext4/inode.c)
 */
export async function setAttributes(
  volume: Volume,
  number: number,
  change: AttributeChange,
): Promise<void> {
  checkId('uid', change.uid);
  checkId('gid', change.gid);
  await volume.transact((txn) => {
    const inode = readFileInode(txn, volume, number);
    refuseFlags(inode, InodeFlag.Immutable | InodeFlag.Append);
    if (change.uid !== undefined || change.gid !== undefined)
      changeOwner(txn, volume, inode, change);
    if (change.mode !== undefined) changeMode(txn, volume, inode, change.mode);
    inode.atimeNs = change.atimeNs ?? inode.atimeNs;
    inode.mtimeNs = change.mtimeNs ?? inode.mtimeNs;
    inode.touchStatus();
    inode.store(txn);
  });
}

function changeOwner(
  txn: Transaction,
  volume: Volume,
  inode: Inode,
  { uid = inode.uid, gid = inode.gid }: AttributeChange,
): void {
  inode.uid = uid;
  inode.gid = gid;
  if (inode.type === 'directory') return;
  inode.mode &= ~SETUID;
  // Without execution for the group the bit means something else.
  if ((inode.mode & GROUP_EXECUTE) !== 0) inode.mode &= ~SETGID;
  dropCapability(txn, volume, inode);
}

function changeMode(txn: Transaction, volume: Volume, inode: Inode, mode: number): void {
  if (inode.type === 'symlink') {
    throw new DaxdError('EOPNOTSUPP', `inode ${inode.number} is a symlink: it has no permissions`);
  }
  inode.mode = (inode.mode & ModeType.Mask) | (mode & PERMISSIONS);
  const key = { index: XattrIndex.PosixAclAccess, name: Buffer.alloc(0) };
  const xattrs = new InodeXattrs(txn, volume, inode);
  const acl = xattrs.get(key);
  if (acl === undefined) return;
  xattrs.set(txn, { ...key, value: chmodAcl(acl, inode.mode, `inode ${inode.number}`) });
}

function checkId(name: string, id: number | undefined): void {
  if (id === undefined || (Number.isInteger(id) && id >= 0 && id <= ID_MAX)) return;
  throw new DaxdError('EINVAL', `${name} ${id} is no whole number from 0 to ${ID_MAX}`);
}
