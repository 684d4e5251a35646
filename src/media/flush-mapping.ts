import { closeSync, constants, openSync } from 'node:fs';

import { assert } from '../lib/assert.js';
import { munmap } from './mman.js';
import type { RawMemory } from './raw-memory.js';
import { fileSystemError } from './system-call-error.js';
import { mapWhole } from './whole-mapping.js';

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
      this.address = mapWhole({ path, fd: own, length }, { readOnly: true });
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
    munmap(this.address, this.#length);
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
