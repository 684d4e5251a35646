import { DaxdError } from '../../lib/errno.js';
import { refuseFlags } from './inode-flags.js';
import { InodeXattrs } from './inode-xattrs.js';
import type { Inode } from './inode.js';
import { InodeFlag } from './layout.js';
import { readFileInode } from './named-inode.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';
import { assertSettable, parseXattrName, showXattrName, XattrIndex } from './xattr-name.js';
import type { XattrKey } from './xattr-name.js';

/** Bytes of the longest value that Linux takes (linux/limits.h, XATTR_SIZE_MAX). */
const VALUE_BYTES_MAX = 65536;

/** How {@link setXattr} sets: only a new attribute, or only one that is there. */
export interface XattrChoice {
  readonly only?: 'create' | 'replace' | undefined;
}

/**
 * Names of an inode's extended attributes. Kinds that only the filesystem itself knows are
 * left out, and names that are not UTF-8.
 *
 * @throws DaxdError ENOENT, EBADMSG, EUCLEAN
 */
export function listXattrs(volume: Volume, number: number): string[] {
  const inode = readFileInode(volume, volume, number);
  const { all } = new InodeXattrs(volume, volume, inode);
  return all.flatMap((xattr) => showXattrName(xattr) ?? []);
}

/**
 * The value of an attribute. Access control lists come as ext4 stores them.
 *
 * @throws DaxdError ENODATA, EOPNOTSUPP, ERANGE, EINVAL for its name, ENOENT, EBADMSG, EUCLEAN
 */
export function getXattr(volume: Volume, number: number, name: string): Buffer {
  const key = parseXattrName(name);
  const inode = readFileInode(volume, volume, number);
  const value = mayHave(inode, key) ? new InodeXattrs(volume, volume, inode).get(key) : undefined;
  if (value === undefined) throw noSuch(number, name);
  return value;
}

/**
 * Sets an attribute; settles when it is durable. Access control lists cannot be set.
 *
 * @throws DaxdError EEXIST, ENODATA as `only` asks; ENOSPC when it does not fit, E2BIG over
 *   64 KiB; EOPNOTSUPP, ERANGE, EINVAL for its name; EPERM for an immutable inode, and for
 *   `user.` on what is neither file nor directory; ENOENT, EROFS, EBADMSG, EUCLEAN, EIO
 */
export async function setXattr(
  volume: Volume,
  number: number,
  { name, value, only }: { readonly name: string; readonly value: Uint8Array } & XattrChoice,
): Promise<void> {
  const key = parseXattrName(name);
  assertSettable(key);
  if (value.length > VALUE_BYTES_MAX) {
    throw new DaxdError('E2BIG', `${name}: ${value.length} bytes, over ${VALUE_BYTES_MAX}`);
  }
  // The caller may change its bytes while the change waits.
  const copy = Buffer.from(value);
  await volume.transact((txn) => {
    const inode = readChangeable(txn, volume, number, key);
    const xattrs = new InodeXattrs(txn, volume, inode);
    const before = xattrs.get(key);
    if (only === 'create' && before !== undefined) {
      throw new DaxdError('EEXIST', `inode ${number} has an attribute ${name} already`);
    }
    if (only === 'replace' && before === undefined) throw noSuch(number, name);
    // Nothing changes then, not even where it stands: in the block, though the inode has room by now.
    if (before?.equals(copy) === true) return;
    xattrs.set(txn, { ...key, value: copy });
    inode.touchStatus();
    inode.store(txn);
  });
}

/**
 * Removes an attribute; settles when that is durable.
 *
 * @throws DaxdError ENODATA, and as {@link setXattr} does
 */
export async function removeXattr(volume: Volume, number: number, name: string): Promise<void> {
  const key = parseXattrName(name);
  assertSettable(key);
  await volume.transact((txn) => {
    const inode = readChangeable(txn, volume, number, key);
    const xattrs = new InodeXattrs(txn, volume, inode);
    if (xattrs.get(key) === undefined) throw noSuch(number, name);
    xattrs.remove(txn, key);
    inode.touchStatus();
    inode.store(txn);
  });
}

/** @kernel xattr_permission (fs/xattr.c) */
function readChangeable(txn: Transaction, volume: Volume, number: number, key: XattrKey): Inode {
  const inode = readFileInode(txn, volume, number);
  refuseFlags(inode, InodeFlag.Immutable | InodeFlag.Append);
  if (!mayHave(inode, key)) {
    throw new DaxdError('EPERM', `inode ${number} is a ${inode.type}: it has no user attributes`);
  }
  return inode;
}

/** Attributes of users stand on files and directories alone: others have no owner's permissions. */
function mayHave({ type }: Inode, { index }: XattrKey): boolean {
  return index !== XattrIndex.User || type === 'file' || type === 'directory';
}

function noSuch(number: number, name: string): DaxdError {
  return new DaxdError('ENODATA', `inode ${number} has no attribute ${JSON.stringify(name)}`);
}
