import { fstatSync, readFileSync } from 'node:fs';

import koffi from 'koffi';

import { DaxdError } from '../lib/errno.js';
import { deviceNumber } from './device-number.js';
import { systemCallError } from './system-call-error.js';

/** Values of Linux (asm-generic/fcntl.h). */
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

const flock: (fd: number, operation: number) => number = koffi
  .load('libc.so.6')
  .func('int flock(int fd, int operation)');

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
 * Takes the exclusive lock of an open file, without waiting.
 *
 * @returns false when another open of the same file has it.
 * @throws DaxdError with any other errno of flock(2).
 */
export function tryFlock(fd: number, path: string): boolean {
  if (flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  const errno = koffi.errno();
  if (errno === koffi.os.errno['EAGAIN']) return false;
  throw systemCallError('flock', path, errno);
}

/**
 * Gives the lock back; nothing happens to one that another open holds.
 *
 * @throws DaxdError with the errno of flock(2).
 */
export function unlockFlock(fd: number, path: string): void {
  if (flock(fd, LOCK_UN) !== 0) throw systemCallError('unlock', path, koffi.errno());
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
