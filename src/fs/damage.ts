import { DaxdError } from '../lib/errno.js';

/** What whoever meets damage can do: a mounted filesystem is not repaired. */
const ADVICE = 'repair it with e2fsck -fy on the unmounted filesystem';

/**
 * What the media say cannot be so. Callers throw it. Gives an error, and no `never`: the
 * compiler then sees where a function ends.
 *
 * @param what the structure concerned and the value that is wrong, as `inode 12: size -1`
 * @returns EUCLEAN with the advice to repair
 */
export function damaged(what: string): DaxdError {
  return new DaxdError('EUCLEAN', `${what}; ${ADVICE}`);
}

/**
 * A structure that is not as it was written. Callers throw it.
 *
 * @param what the structure concerned, with its number
 * @returns EBADMSG with the advice to repair
 */
export function checksumMismatch(what: string): DaxdError {
  return new DaxdError('EBADMSG', `checksum mismatch: ${what}; ${ADVICE}`);
}

/** Whether an error is one that {@link damaged} or {@link checksumMismatch} gives. */
export function isDamage(error: unknown): error is DaxdError {
  return error instanceof DaxdError && (error.code === 'EUCLEAN' || error.code === 'EBADMSG');
}
