import { constants } from 'node:os';

import { DaxdError, errorCodeFor } from '../lib/errno.js';

function errnoName(errno: number): string {
  const names = Object.entries(constants.errno).filter(([, number]) => number === errno);
  return names[0]?.[0] ?? `errno ${errno}`;
}

/**
 * The failure of a call into a C library.
 *
 * @param call its name, such as `mmap`
 * @param subject what it was asked to work on
 * @param errno the positive number that it left
 */
export function systemCallError(call: string, subject: string, errno: number): DaxdError {
  const name = errnoName(errno);
  return new DaxdError(errorCodeFor(name), `${call} of ${subject} failed with ${name}`);
}

/**
 * What node:fs threw, as a DaxdError that keeps it as its cause; anything else unchanged.
 *
 * @param action what was being done, such as `open /srv/pmem0.img`
 * @param advice what to do next, where more is known than the errno says
 */
export function fileSystemError(action: string, cause: unknown, advice?: string): unknown {
  if (!(cause instanceof Error) || !('syscall' in cause) || !('code' in cause)) return cause;
  const name = String(cause.code);
  const message = `cannot ${action}: ${cause.message}${advice === undefined ? '' : `: ${advice}`}`;
  return new DaxdError(errorCodeFor(name), message, { cause });
}
