import koffi from 'koffi';

import { DaxdError } from '../lib/errno.js';
import type { RawMemory } from './raw-memory.js';
import { systemCallError } from './system-call-error.js';

/** Values of Linux (linux/falloc.h). */
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_ZERO_RANGE = 16;

const fallocate: (fd: number, mode: number, offset: number, length: number) => number = koffi
  .load('libc.so.6')
  .func('int fallocate(int fd, int mode, int64_t offset, int64_t len)');

/**
 * Makes a hole of a range of a file: it reads as zeros, through every mapping, and its blocks
 * are free. A later store there can find the disk full.
 *
 * @throws DaxdError EOPNOTSUPP for a device or where the filesystem has no holes, and nothing
 *   was done; EIO, ENOSPC.
 */
export function punchHole(memory: RawMemory, offset: number, length: number): void {
  call(memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

/**
 * Makes a range of a file read as zeros without storing them: its blocks stay allocated.
 *
 * @throws DaxdError as {@link punchHole}.
 */
export function zeroRange(memory: RawMemory, offset: number, length: number): void {
  call(memory, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
}

function call({ kind, path, fd }: RawMemory, mode: number, offset: number, length: number): void {
  if (kind !== 'file') throw new DaxdError('EOPNOTSUPP', `${path} is a device, which has no holes`);
  if (fallocate(fd, mode, offset, length) === 0) return;
  throw systemCallError('fallocate', `${path}, ${length} bytes at ${offset}`, koffi.errno());
}
