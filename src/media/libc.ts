import { markAsUntransferable } from 'node:worker_threads';

import koffi from 'koffi';

import { assert } from '../lib/assert.js';
import { GIB, isAligned, PAGE_SIZE } from '../lib/units.js';
import { systemCallError } from './system-call-error.js';
import type { WindowRequest } from './window.js';

/** Runs on a thread of libuv's pool; `done` is called on the main thread. */
type Asynchronous<Args extends unknown[]> = (
  ...args: [...Args, done: (failure: Error | null, result: number) => void]
) => void;

/** Values of Linux on all of Node's 64-bit platforms (asm-generic/mman-common.h, sys/file.h). */
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MS_SYNC = 4;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const MAP_FAILED = 2n ** 64n - 1n;

const libc = koffi.load('libc.so.6');
const mmap: (...args: [null, number, number, number, number, number]) => bigint = libc.func(
  'void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)',
);
const mmapOver: (...args: [Buffer, number, number, number, number, number]) => bigint = libc.func(
  'void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)',
);
const munmap: (address: bigint, length: number) => number = libc.func(
  'int munmap(void *addr, size_t length)',
);
const flock: (fd: number, operation: number) => number = libc.func(
  'int flock(int fd, int operation)',
);
const lseek: (fd: number, offset: number, whence: number) => number = libc.func(
  'int64_t lseek(int fd, int64_t offset, int whence)',
);
const msync: Asynchronous<[Buffer, number, number]> = libc.func(
  'int msync(void *addr, size_t length, int flags)',
).async;
const posixFallocate: Asynchronous<[number, number, number]> = libc.func(
  'int posix_fallocate(int fd, int64_t offset, int64_t length)',
).async;

/**
 * Unmaps windows whose ArrayBuffer was collected. It lives as long as the module, since a
 * registry that is itself collected forgets its duties, and holds nothing but addresses.
 */
const unmapper = new FinalizationRegistry<{ address: bigint; length: number }>(
  ({ address, length }) => {
    const result = munmap(address, length);
    assert(result === 0, 'a window that was mapped can be unmapped');
  },
);

/**
 * Maps one window through libc. As with mmap-io, it is unmapped when the Buffer and every
 * view of it have been collected, so a view cannot dangle.
 *
 * @throws DaxdError with the errno of mmap(2): ENOMEM, EACCES, ENODEV and so on.
 */
export function mapThroughLibc({ path, fd, offset, length, readOnly }: WindowRequest): Buffer {
  // koffi ends the process when asked for a view that V8 cannot make, past 4 GiB.
  assert(length > 0 && length <= GIB, 'a window is at most 1 GiB long');
  assert(offset >= 0 && isAligned(offset, PAGE_SIZE), 'a window starts on a page');
  const protection = readOnly ? PROT_READ : PROT_READ | PROT_WRITE;
  const address = mmap(null, length, protection, MAP_SHARED, fd, offset);
  if (address === MAP_FAILED) {
    throw systemCallError('mmap', `${path}, ${length} bytes at ${offset}`, koffi.errno());
  }
  const memory = koffi.view(address, length);
  unmapper.register(memory, { address, length });
  // A transfer to a worker would let this ArrayBuffer be collected under the worker's view.
  markAsUntransferable(memory);
  return Buffer.from(memory);
}

/**
 * Puts zeroed memory of this process alone in the place of a window, in one step: every view
 * of it stays valid, and reaches nothing of what was mapped there.
 *
 * @throws DaxdError with the errno of mmap(2): ENOMEM; the window is as it was then.
 */
export function coverWindow(window: Buffer, { readOnly }: { readonly readOnly: boolean }): void {
  const protection = readOnly ? PROT_READ : PROT_READ | PROT_WRITE;
  const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
  if (mmapOver(window, window.length, protection, flags, -1, 0) !== MAP_FAILED) return;
  throw systemCallError('mmap', `${window.length} bytes over a window`, koffi.errno());
}

/**
 * Writes the dirty pages of a view of a shared file mapping to the file's device and waits
 * until they are there, off the main thread. The view must start on a page.
 *
 * @throws DaxdError with the errno of msync(2): EIO, ENOSPC, ENOMEM and so on.
 */
export async function msyncView(view: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    msync(view, view.length, MS_SYNC, (failure, result) => {
      // First of all: koffi sets errno to the pool thread's only for this callback, and the
      // use of `view` in here is what keeps its window mapped until now.
      const errno = koffi.errno();
      if (failure !== null) reject(failure);
      else if (result === 0) resolve();
      else reject(systemCallError('msync', `${view.length} bytes`, errno));
    });
  });
}

/** The file to allocate; `path` is for messages. */
export interface AllocateRequest {
  readonly path: string;
  readonly fd: number;
  readonly length: number;
}

/**
 * Reserves disk space for the first `length` bytes of a file and makes it that long, off
 * the main thread. glibc writes to every block where the filesystem has no fallocate.
 *
 * @throws DaxdError with the errno of posix_fallocate(3): ENOSPC, EFBIG and so on; part of
 *   the space may then be reserved.
 */
export async function allocateFile({ path, fd, length }: AllocateRequest): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    posixFallocate(fd, 0, length, (failure, result) => {
      // This call returns its errno instead of setting it.
      if (failure !== null) reject(failure);
      else if (result === 0) resolve();
      else reject(systemCallError('fallocate', `${path}, ${length} bytes`, result));
    });
  });
}

/** A file to look through; `path` is for messages. */
export interface SeekRequest {
  readonly path: string;
  readonly fd: number;
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
