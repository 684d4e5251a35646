import { fstatSync, readFileSync } from 'node:fs';

import { DaxdError } from '../lib/errno.js';
import { deviceNumber } from './device-number.js';
import { tryFlock } from './libc.js';

/** What /proc/locks names a file by. */
export interface FileIdentity {
  readonly major: number;
  readonly minor: number;
  readonly inode: number;
}

/**
 * Takes the exclusive lock on an open backing, without waiting: one daxd a backing, also
 * when it only reads.
 *
 * @throws DaxdError EBUSY, naming the process that holds it.
 */
export function lockBacking(fd: number, path: string): void {
  if (tryFlock(fd, path)) return;
  const { dev, ino } = fstatSync(fd);
  const pid = flockHolder(readFileSync('/proc/locks', 'utf8'), {
    ...deviceNumber(dev),
    inode: ino,
  });
  throw new DaxdError(
    'EBUSY',
    `${path} is locked by another process, pid ${pid ?? 'unknown'}: stop that one first`,
  );
}

/**
 * The process that holds the flock of a file. `undefined` when the text names none: the lock
 * is gone by now, its holder lives in another pid namespace, or the filesystem reports
 * another device number in stat (btrfs, overlayfs).
 *
 * @param locks the text of /proc/locks (proc_locks(5)); a waiter's line has `->` in column 2
 */
export function flockHolder(locks: string, file: FileIdentity): number | undefined {
  const id = `${hex(file.major)}:${hex(file.minor)}:${file.inode}`;
  for (const line of locks.split('\n')) {
    const [, kind, , , pid, where] = line.trim().split(/\s+/);
    if (kind === 'FLOCK' && where === id && Number(pid) > 0) return Number(pid);
  }
  return undefined;
}

function hex(number: number): string {
  return number.toString(16).padStart(2, '0');
}
