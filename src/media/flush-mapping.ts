import { closeSync, constants, openSync } from 'node:fs';

import koffi from 'koffi';

import { assert } from '../lib/assert.js';
import type { RawMemory } from './raw-memory.js';
import { fileSystemError, systemCallError } from './system-call-error.js';

/** Values of Linux on all of Node's 64-bit platforms (asm-generic/mman-common.h). */
const PROT_READ = 1;
const MAP_SHARED = 1;
const MAP_FAILED = 2n ** 64n - 1n;

const libc = koffi.load('libc.so.6');
const mmap: (...args: [null, number, number, number, number, number]) => bigint = libc.func(
  'void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)',
);
const munmap: (address: number, length: number) => number = libc.func(
  'int munmap(uintptr_t addr, size_t length)',
);

/**
 * A map of a whole file for msync alone, through an open file description that nobody shares.
 *
 * That a page could not be written is told once to each open file description (errseq_t,
 * linux/errseq.h): of two who flush through one the second would hear that all is durable. This
 * one tells of every failure since it was opened, whoever stored the page and whoever wrote it
 * back. Its pages are never touched, so it costs address space alone.
 */
export class FlushMapping {
  /** Where byte 0 of the file is mapped. */
  readonly address: number;
  readonly #length: number;
  #closed = false;

  /** @throws DaxdError with the errno of open(2) or mmap(2): EMFILE, ENOMEM and so on. */
  constructor(memory: RawMemory) {
    const { path, length } = memory;
    const own = openAnew(memory);
    try {
      const address = mmap(null, length, PROT_READ, MAP_SHARED, own, 0);
      if (address === MAP_FAILED) {
        throw systemCallError('mmap', `${path}, all ${length} bytes`, koffi.errno());
      }
      this.address = Number(address);
      this.#length = length;
    } finally {
      // The map keeps what was opened.
      closeSync(own);
    }
  }

  /** Unmaps it. */
  close(): void {
    assert(!this.#closed, 'a flush mapping is closed once');
    this.#closed = true;
    const result = munmap(this.address, this.#length);
    assert(result === 0, 'what was mapped can be unmapped');
  }
}

/**
 * Not by its path, where another file may lie by now. For writing, though nothing is written: msync
 * skips a map of what was opened for reading, which it does not call shared (mm/msync.c).
 */
function openAnew({ path, fd, readOnly }: RawMemory): number {
  try {
    return openSync(`/proc/self/fd/${fd}`, readOnly ? constants.O_RDONLY : constants.O_RDWR);
  } catch (cause) {
    throw fileSystemError(`open ${path} once more`, cause);
  }
}
