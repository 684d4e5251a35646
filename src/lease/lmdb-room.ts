import { closeSync, fstatSync, openSync } from 'node:fs';

import { DaxdError } from '../lib/errno.js';
import { FallocateMode, fallocate } from '../media/fallocate.js';
import type { StoreChange } from './lease-store.js';

/**
 * Kept behind the end of the file for what is to go on while the disk is full: removals, and the
 * notes of a start.
 */
const RESERVED_BYTES = 1024 * 1024;
/** Reserved at once, where there is room: not every transaction is to ask the filesystem. */
const STEP_BYTES = 1024 * 1024;
/** What a change may add to the file, beside its own bytes: pages of the trees that it is put into. */
const CHANGE_BYTES = 16 * 1024;
/** Of each range and run of a record. */
const PIECE_BYTES = 24;

/**
 * Room on the disk behind the end of an LMDB file. LMDB is never left to find out that there is
 * none: version 3.5 of the package overruns a buffer where it reports a write that failed (100
 * bytes for a longer message, in mdb_page_flush), and the process aborts sooner or later.
 */
export class LmdbRoom {
  readonly #path: string;
  readonly #fd: number;
  /** The byte up to which blocks are allocated; Infinity where none can be reserved. */
  #end = 0;

  /** @throws what node:fs throws. */
  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, 'r+');
  }

  /**
   * Whether there is room for the changes, and RESERVED_BYTES more. Where not, what takes no
   * more room than it gives back can go on.
   */
  has(changes: readonly StoreChange[]): boolean {
    const { size } = fstatSync(this.#fd);
    const wanted = size + bytesOf(changes) + RESERVED_BYTES;
    if (wanted <= this.#end) return true;
    return this.#extend(size, wanted + STEP_BYTES) || this.#extend(size, wanted);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #extend(offset: number, end: number): boolean {
    const range = { fd: this.#fd, path: this.#path, offset, length: end - offset };
    try {
      fallocate(range, FallocateMode.KeepSize);
      this.#end = end;
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      // A quota is as full as a disk, under whatever name.
      if (error.code !== 'EOPNOTSUPP') return false;
      // Where the filesystem reserves nothing, LMDB has to find out after all.
      this.#end = Infinity;
    }
    return true;
  }
}

function bytesOf(changes: readonly StoreChange[]): number {
  let bytes = changes.length * CHANGE_BYTES;
  for (const change of changes) {
    if (change.kind !== 'put') continue;
    bytes += (change.record.ranges.length + change.record.runs.length) * PIECE_BYTES;
  }
  return bytes;
}
