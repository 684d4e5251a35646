import koffi from 'koffi';

import type { OpenedFile } from './opened-file.js';
import { systemCallError } from './system-call-error.js';

/** Values of Linux (linux/fs.h). */
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

const lseek: (fd: number, offset: number, whence: number) => number = koffi
  .load('libc.so.6')
  .func('int64_t lseek(int fd, int64_t offset, int whence)');

/** A file to look through. */
export interface SeekRequest extends OpenedFile {
  readonly offset: number;
}

/**
 * The first byte from `offset` on that is in no hole, as far as the filesystem knows: one
 * that knows nothing calls everything data. `undefined` when only a hole follows.
 *
 * @throws DaxdError with the errno of lseek(2).
 */
export function seekData(request: SeekRequest): number | undefined {
  return seek(request, SEEK_DATA);
}

/** The first byte from `offset` on that is in a hole, the end of the file at last. @throws DaxdError as {@link seekData} */
export function seekHole(request: SeekRequest): number | undefined {
  return seek(request, SEEK_HOLE);
}

function seek({ path, fd, offset }: SeekRequest, whence: number): number | undefined {
  const found = lseek(fd, offset, whence);
  if (found >= 0) return found;
  const errno = koffi.errno();
  if (errno === koffi.os.errno['ENXIO']) return undefined;
  throw systemCallError('lseek', `${path}, from ${offset}`, errno);
}
