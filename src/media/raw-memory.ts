import { assert } from '../lib/assert.js';
import { MIB } from '../lib/units.js';
import { Advice, madviseAsync, munmap } from './mman.js';
import type { OpenedFile } from './opened-file.js';
import type { PersistenceKind } from './persister.js';
import { mapWhole } from './whole-mapping.js';

/**
 * A backing for threads that move its bytes by system calls alone: plain values, which can be
 * sent to a worker. A pointer into it is never followed here: where the file has shrunk, or
 * the disk is full under a hole, a store is SIGBUS and ends the process, and the same address
 * given to a system call is EFAULT.
 */
export interface RawMemory extends OpenedFile {
  /** Where byte 0 of the backing is mapped, whole and shared. */
  readonly address: number;
  readonly length: number;
  readonly kind: 'file' | 'device-dax';
  readonly persistence: PersistenceKind;
  /** Whether the file had holes when it was opened. */
  readonly sparse: boolean;
  readonly readOnly: boolean;
}

/** What a {@link RawMapping} takes from the backing that it is of. */
interface RawBacking extends Omit<RawMemory, 'address' | 'fd' | 'length'> {
  readonly sizeBytes: number;
}

/** How much one call brings in: a few milliseconds of a thread of libuv's pool. */
const POPULATE_BYTES = 64 * MIB;

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
  constructor(backing: RawBacking, fd: number) {
    const { path, kind, sizeBytes: length, persistence, sparse, readOnly } = backing;
    const address = mapWhole({ fd, path, length }, { readOnly });
    this.memory = { fd, path, address, length, kind, persistence, sparse, readOnly };
    if (isMemory(backing)) this.#populating = this.#populate();
  }

  /** Unmaps it. Nobody uses its addresses any more. */
  async close(): Promise<void> {
    assert(!this.#closed, 'a raw mapping is closed once');
    this.#closed = true;
    await this.#populating;
    munmap(this.memory.address, this.memory.length);
  }

  /** Fills the page tables ahead of the first requests, which would fault page by page. */
  async #populate(): Promise<void> {
    const { address, length, readOnly } = this.memory;
    const advice = readOnly ? Advice.PopulateRead : Advice.PopulateWrite;
    for (let at = 0; at < length && !this.#closed; at += POPULATE_BYTES) {
      const run = Math.min(POPULATE_BYTES, length - at);
      // A kernel before 5.14, or memory that is short: requests fault pages in themselves.
      if (!(await madviseAsync(address + at, run, advice))) return;
    }
  }
}

/**
 * Whether the bytes are in memory anyway. Of a file on a disk, bringing in all of it would
 * read it all and call it dirty; in a sparse one it would fill every hole.
 */
function isMemory({ kind, persistence, sparse }: RawBacking): boolean {
  return !sparse && (kind === 'device-dax' || persistence === 'none');
}
