import koffi from 'koffi';

import { assert } from '../lib/assert.js';
import { MIB } from '../lib/units.js';
import type { PersistenceKind } from './persistence.js';
import { systemCallError } from './system-call-error.js';

/**
 * A backing for threads that move its bytes by system calls alone: plain values, which can be
 * sent to a worker. A pointer into it is never followed here: where the file has shrunk, or
 * the disk is full under a hole, a store is SIGBUS and ends the process, and the same address
 * given to a system call is EFAULT.
 */
export interface RawMemory {
  /** For messages. */
  readonly path: string;
  /** Where byte 0 of the backing is mapped, whole and shared. */
  readonly address: number;
  readonly length: number;
  readonly fd: number;
  readonly kind: 'file' | 'device-dax';
  readonly persistence: PersistenceKind;
  /** Whether the file had holes when it was opened. */
  readonly sparse: boolean;
  readonly readOnly: boolean;
}

/** Values of Linux on all of Node's 64-bit platforms (asm-generic/mman-common.h). */
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MADV_POPULATE_READ = 22;
const MADV_POPULATE_WRITE = 23;
const MAP_FAILED = 2n ** 64n - 1n;
const ADDRESS_MAX = 2n ** 53n;

/** How much one call brings in: a few milliseconds of a thread of libuv's pool. */
const POPULATE_BYTES = 64 * MIB;

const libc = koffi.load('libc.so.6');
const mmap: (...args: [null, number, number, number, number, number]) => bigint = libc.func(
  'void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)',
);
const munmap: (address: number, length: number) => number = libc.func(
  'int munmap(uintptr_t addr, size_t length)',
);
const madvise: (
  ...args: [number, number, number, (failure: Error | null, result: number) => void]
) => void = libc.func('int madvise(uintptr_t addr, size_t length, int advice)').async;

/** The mapping behind a {@link RawMemory}, unmapped when it is closed. */
export class RawMapping {
  readonly memory: RawMemory;
  #closed = false;
  #populating: Promise<void> = Promise.resolve();

  /**
   * Maps the whole backing once more. It costs address space, and memory only for the page
   * tables of what is touched.
   *
   * @throws DaxdError with the errno of mmap(2): ENOMEM, EACCES and so on.
   */
  constructor(parts: Omit<RawMemory, 'address'>) {
    const { path, length, fd, readOnly } = parts;
    const protection = readOnly ? PROT_READ : PROT_READ | PROT_WRITE;
    const address = mmap(null, length, protection, MAP_SHARED, fd, 0);
    if (address === MAP_FAILED) {
      throw systemCallError('mmap', `${path}, all ${length} bytes`, koffi.errno());
    }
    assert(address < ADDRESS_MAX, 'addresses of user space are exact as numbers');
    this.memory = { ...parts, address: Number(address) };
    if (isMemory(parts)) this.#populating = this.#populate();
  }

  /** Unmaps it. Nobody uses its addresses any more. */
  async close(): Promise<void> {
    assert(!this.#closed, 'a raw mapping is closed once');
    this.#closed = true;
    await this.#populating;
    const result = munmap(this.memory.address, this.memory.length);
    assert(result === 0, 'what was mapped can be unmapped');
  }

  /** Fills the page tables ahead of the first requests, which would fault page by page. */
  async #populate(): Promise<void> {
    const { address, length, readOnly } = this.memory;
    const advice = readOnly ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;
    for (let at = 0; at < length && !this.#closed; at += POPULATE_BYTES) {
      const run = Math.min(POPULATE_BYTES, length - at);
      const result = await new Promise<number>((resolve, reject) => {
        madvise(address + at, run, advice, (failure, code) => {
          if (failure === null) resolve(code);
          else reject(failure);
        });
      });
      // A kernel before 5.14, or memory that is short: requests fault pages in themselves.
      if (result !== 0) return;
    }
  }
}

/**
 * Whether the bytes are in memory anyway. Of a file on a disk, bringing in all of it would
 * read it all and call it dirty; in a sparse one it would fill every hole.
 */
function isMemory({ kind, persistence, sparse }: Omit<RawMemory, 'address'>): boolean {
  return !sparse && (kind === 'device-dax' || persistence === 'none');
}
