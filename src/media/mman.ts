import koffi from 'koffi';

import { assert } from '../lib/assert.js';
import { systemCallError } from './system-call-error.js';

/** Values of Linux on all of Node's 64-bit platforms (asm-generic/mman-common.h). */
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MS_SYNC = 4;
const MAP_FAILED = 2n ** 64n - 1n;
const ADDRESS_MAX = 2n ** 53n;

/** Advice for {@link madvise}, with the values of Linux. */
export const Advice = { WillNeed: 3, PopulateRead: 22, PopulateWrite: 23 } as const;

type Done = (failure: Error | null, result: number) => void;

const libc = koffi.load('libc.so.6');
const mmap: (...args: [null, number, number, number, number, number]) => bigint = libc.func(
  'void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)',
);
const mmapOver: (...args: [Buffer, number, number, number, number, number]) => bigint = libc.func(
  'void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)',
);
const unmap: (address: number, length: number) => number = libc.func(
  'int munmap(uintptr_t addr, size_t length)',
);
const sync: (address: number, length: number, flags: number) => number = libc.func(
  'int msync(uintptr_t addr, size_t length, int flags)',
);
const syncView: (...args: [Buffer, number, number, Done]) => void = libc.func(
  'int msync(void *addr, size_t length, int flags)',
).async;
const advise = libc.func('int madvise(uintptr_t addr, size_t length, int advice)');
const adviseAsync: (...args: [number, number, number, Done]) => void = advise.async;

/** What to map of an open file or device. */
export interface SharedMap {
  readonly fd: number;
  /** A multiple of what the file or device aligns its mappings to, at least 4096. */
  readonly offset: number;
  readonly length: number;
  readonly readOnly: boolean;
}

/**
 * Maps a stretch of a file, shared, wherever there is room.
 *
 * @param subject what is mapped, for messages
 * @returns the address of its first byte.
 * @throws DaxdError with the errno of mmap(2): ENOMEM, EACCES, ENODEV and so on.
 */
export function mapShared({ fd, offset, length, readOnly }: SharedMap, subject: string): number {
  const address = mmap(null, length, protection(readOnly), MAP_SHARED, fd, offset);
  return checked(address, subject);
}

/**
 * Maps zeroed memory of this process alone, to read and to write.
 *
 * @returns the address of its first byte.
 * @throws DaxdError ENOMEM.
 */
export function mapPrivate(length: number): number {
  const address = mmap(null, length, protection(false), MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return checked(address, `${length} bytes`);
}

/**
 * Puts zeroed memory of this process alone in the place of a window, in one step: every view
 * of it stays valid, and reaches nothing of what was mapped there.
 *
 * @throws DaxdError with the errno of mmap(2): ENOMEM; the window is as it was then.
 */
export function coverWindow(window: Buffer, { readOnly }: { readonly readOnly: boolean }): void {
  const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
  const address = mmapOver(window, window.length, protection(readOnly), flags, -1, 0);
  checked(address, `${window.length} bytes over a window`);
}

/** Unmaps what {@link mapShared} or {@link mapPrivate} mapped. Nobody uses its addresses any more. */
export function munmap(address: number, length: number): void {
  const result = unmap(address, length);
  assert(result === 0, 'what was mapped can be unmapped');
}

/**
 * Writes the dirty pages of a shared file mapping to the file's device, and blocks until they
 * are there. The address is that of a page.
 *
 * @param path of the file, for messages
 * @throws DaxdError with the errno of msync(2): EIO, ENOSPC, ENOMEM and so on.
 */
export function msync(address: number, length: number, path: string): void {
  if (sync(address, length, MS_SYNC) === 0) return;
  throw systemCallError('msync', `${path}, ${length} bytes`, koffi.errno());
}

/**
 * As {@link msync}, of a view that starts on a page, and off the main thread.
 *
 * @throws DaxdError with the errno of msync(2): EIO, ENOSPC, ENOMEM and so on.
 */
export async function msyncView(view: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    syncView(view, view.length, MS_SYNC, (failure, result) => {
      // First of all: koffi sets errno to the pool thread's only for this callback, and the
      // use of `view` in here is what keeps its window mapped until now.
      const errno = koffi.errno();
      if (failure !== null) reject(failure);
      else if (result === 0) resolve();
      else reject(systemCallError('msync', `${view.length} bytes`, errno));
    });
  });
}

/** Tells the kernel what will be done with pages, on this thread: a hint, that may fail unseen. */
export function madvise(address: number, length: number, advice: number): void {
  advise(address, length, advice);
}

/**
 * As {@link madvise}, off the main thread.
 *
 * @returns whether the kernel did what was asked for.
 */
export async function madviseAsync(
  address: number,
  length: number,
  advice: number,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    adviseAsync(address, length, advice, (failure, result) => {
      if (failure === null) resolve(result === 0);
      else reject(failure);
    });
  });
}

function protection(readOnly: boolean): number {
  return readOnly ? PROT_READ : PROT_READ | PROT_WRITE;
}

function checked(address: bigint, subject: string): number {
  if (address === MAP_FAILED) throw systemCallError('mmap', subject, koffi.errno());
  assert(address < ADDRESS_MAX, 'addresses of user space are exact as numbers');
  return Number(address);
}
