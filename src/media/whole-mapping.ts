import koffi from 'koffi';

import { assert } from '../lib/assert.js';
import { systemCallError } from './system-call-error.js';

/** Values of Linux on all of Node's 64-bit platforms (asm-generic/mman-common.h). */
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_FAILED = 2n ** 64n - 1n;
const ADDRESS_MAX = 2n ** 53n;

const libc = koffi.load('libc.so.6');
const mmap: (...args: [null, number, number, number, number, number]) => bigint = libc.func(
  'void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)',
);
const munmap: (address: number, length: number) => number = libc.func(
  'int munmap(uintptr_t addr, size_t length)',
);

/** What to map, from byte 0 on; `path` is for messages. */
export interface WholeFile {
  readonly path: string;
  readonly fd: number;
  readonly length: number;
}

/**
 * Maps a whole file, shared, for system calls alone: what is given is an address, and no
 * memory that JavaScript could touch.
 *
 * @throws DaxdError with the errno of mmap(2): ENOMEM, EACCES and so on.
 */
export function mapWhole(
  { path, fd, length }: WholeFile,
  { readOnly }: { readonly readOnly: boolean },
): number {
  const protection = readOnly ? PROT_READ : PROT_READ | PROT_WRITE;
  const address = mmap(null, length, protection, MAP_SHARED, fd, 0);
  if (address === MAP_FAILED) {
    throw systemCallError('mmap', `${path}, all ${length} bytes`, koffi.errno());
  }
  assert(address < ADDRESS_MAX, 'addresses of user space are exact as numbers');
  return Number(address);
}

/** Unmaps what {@link mapWhole} mapped. Nobody uses its addresses any more. */
export function unmapWhole(address: number, length: number): void {
  const result = munmap(address, length);
  assert(result === 0, 'what was mapped can be unmapped');
}
