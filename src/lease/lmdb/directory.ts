import { closeSync, constants, existsSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';

import { DaxdError, systemCodeOf } from '../../lib/errno.js';
import { tryFlock } from '../../media/lock.js';
import { unwritable } from './errors.js';

/**
 * Opens and locks the directory of a store, which is made where it is not there. One daemon a
 * store: two would each free what the other one's holders have.
 *
 * @returns the descriptor that holds the lock.
 * @throws DaxdError EBUSY where another daemon has it; the errno of the system where it cannot
 *   be made or read.
 */
export function lockDirectory(directory: string): number {
  let fd: number;
  try {
    makeDirectory(directory);
    fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    throw unwritable(directory, error);
  }
  if (tryFlock(fd, directory)) return fd;
  closeSync(fd);
  throw new DaxdError(
    'EBUSY',
    `another daemon keeps its leases in ${directory}: give --state-dir another directory`,
  );
}

/** Its parents, too. Node's own way with them goes on for ever where one cannot be made: /proc. */
function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory, 0o700);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'EEXIST') return;
    const parent = dirname(directory);
    if (code !== 'ENOENT' || existsSync(parent)) throw error;
    makeDirectory(parent);
    mkdirSync(directory, 0o700);
  }
}
