import { DaxdError } from '../../lib/errno.js';
import type { Inode } from './inode.js';

/**
 * Refuses to change an inode that has one of some flags; they are the administrator's word.
 *
 * @param flags bits of `InodeFlag`: Immutable, and Append where the change is more than an addition
 * @throws DaxdError EPERM
 * @kernel IS_IMMUTABLE, IS_APPEND (linux/fs.h)
 */
export function refuseFlags(inode: Inode, flags: number): void {
  if ((inode.flags & flags) === 0) return;
  throw new DaxdError('EPERM', `inode ${inode.number} is immutable or append-only (see lsattr)`);
}
