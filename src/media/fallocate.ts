import koffi from 'koffi';

import { systemCallError } from './system-call-error.js';

/** Modes of fallocate(2), with the values of Linux (linux/falloc.h). */
export const FallocateMode = { KeepSize: 1, PunchHole: 2, ZeroRange: 16 } as const;

/** A range of an open file, in bytes. */
export interface FileRange {
  readonly fd: number;
  /** For messages. */
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

const call: (fd: number, mode: number, offset: number, length: number) => number = koffi
  .load('libc.so.6')
  .func('int fallocate(int fd, int mode, int64_t offset, int64_t len)');

/**
 * fallocate(2), on this thread.
 *
 * @throws DaxdError with its errno.
 */
export function fallocate({ fd, path, offset, length }: FileRange, mode: number): void {
  if (call(fd, mode, offset, length) === 0) return;
  throw systemCallError('fallocate', `${path}, ${length} bytes at ${offset}`, koffi.errno());
}
