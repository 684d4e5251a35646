import koffi from 'koffi';

import type { ByteRange } from '../lib/byte-range.js';
import type { OpenedFile } from './opened-file.js';
import { systemCallError } from './system-call-error.js';

/** Modes of fallocate(2), with the values of Linux (linux/falloc.h). */
export const FallocateMode = { KeepSize: 1, PunchHole: 2, ZeroRange: 16 } as const;

/** A range of an open file. */
export interface FileRange extends OpenedFile, ByteRange {}

const libc = koffi.load('libc.so.6');
const call: (fd: number, mode: number, offset: number, length: number) => number = libc.func(
  'int fallocate(int fd, int mode, int64_t offset, int64_t len)',
);
const posixFallocate: (
  ...args: [
    fd: number,
    offset: number,
    length: number,
    done: (failure: Error | null, result: number) => void,
  ]
) => void = libc.func('int posix_fallocate(int fd, int64_t offset, int64_t length)').async;

/**
 * fallocate(2), on this thread.
 *
 * @throws DaxdError with its errno.
 */
export function fallocate({ fd, path, offset, length }: FileRange, mode: number): void {
  if (call(fd, mode, offset, length) === 0) return;
  throw systemCallError('fallocate', `${path}, ${length} bytes at ${offset}`, koffi.errno());
}

/**
 * Reserves disk space for the first `length` bytes of a file and makes it that long, off
 * the main thread. glibc writes to every block where the filesystem has no fallocate.
 *
 * @throws DaxdError with the errno of posix_fallocate(3): ENOSPC, EFBIG and so on; part of
 *   the space may then be reserved.
 */
export async function allocateFile({ path, fd }: OpenedFile, length: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    posixFallocate(fd, 0, length, (failure, result) => {
      // This call returns its errno instead of setting it.
      if (failure !== null) reject(failure);
      else if (result === 0) resolve();
      else reject(systemCallError('fallocate', `${path}, ${length} bytes`, result));
    });
  });
}
