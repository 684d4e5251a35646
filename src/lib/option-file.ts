import { readFile } from 'node:fs/promises';
import { geteuid } from 'node:process';

import { DaxdError, errorCodeFor, systemCodeOf } from './errno.js';

/**
 * Reads a file that an option names.
 *
 * @param what the option and the file, for messages.
 * @throws DaxdError as {@link unreadable} says.
 */
export async function readOptionFile(what: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw unreadable(what, cause);
  }
}

/**
 * Why a file that an option names cannot be read: ENOENT, EACCES and what else the system said of
 * it; EIO for those that daxd does not report.
 *
 * @param what the option and the file, for messages.
 */
export function unreadable(what: string, cause: unknown): DaxdError {
  const code = errorCodeFor(systemCodeOf(cause) ?? '');
  return new DaxdError(code, `${what} ${reason(code, cause)}`, { cause });
}

function reason(code: DaxdError['code'], cause: unknown): string {
  if (code === 'ENOENT') return 'is not there: name one that is';
  if (code === 'EACCES') {
    return `may not be read by the user of daxd, ${geteuid?.()}: chown or chmod it`;
  }
  return `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`;
}
