import { type FileHandle, open } from 'node:fs/promises';

import { systemCodeOf } from '../lib/errno.js';
import { unlockFlock } from './lock.js';
import { fileSystemError } from './system-call-error.js';

/** What to do about the failures of open(2) that an operator meets most. */
const ADVICE: Readonly<Record<string, string>> = {
  EACCES: 'give daxd the right to read and write it, or --read-only where reading is allowed',
  EROFS: 'its filesystem is read-only: give --read-only',
  EEXIST: 'it appeared meanwhile, or is a symlink to nothing: look there, then start again',
  ENOENT: 'its directory is not there: create that first',
};

/**
 * Opens a backing with the given flags of open(2); a file that this creates is its owner's
 * alone to read and write.
 *
 * @throws DaxdError with the errno of open(2).
 */
export async function openFile(path: string, flags: number): Promise<FileHandle> {
  try {
    return await open(path, flags, 0o600);
  } catch (cause) {
    const code = systemCodeOf(cause) ?? '';
    throw fileSystemError(`open ${path}`, cause, ADVICE[code]);
  }
}

/**
 * Gives up a backing that was opened, whether or not it was locked. Closing alone would not
 * unlock it: a window that is mapped keeps the open file, and with it the lock.
 */
export async function unlockAndClose(handle: FileHandle, path: string): Promise<void> {
  unlockFlock(handle.fd, path);
  await handle.close();
}
