import { closeSync, fstatSync, ftruncateSync, openSync, statSync } from 'node:fs';

import { DaxdError } from '../../lib/errno.js';
import { STAT_BLOCK_BYTES } from '../../lib/units.js';
import { FallocateMode, fallocate } from '../../media/fallocate.js';

/**
 * Kept behind the end of the file for what is to go on while the disk is full, removals and the
 * notes of a start: this much, and one part in so many of the file, for its list of free pages.
 */
const RESERVED_BYTES = 1024 * 1024;
const RESERVED_PART = 16;
/** What makes a lease smaller, and what is only remembered, may take this part of it: removals go on. */
const RESERVED_FOR_LESS = 1 / 2;
/** Reserved at once, where there is room: not every transaction is to ask the filesystem. */
const STEP_BYTES = 1024 * 1024;
/** More than LMDB's table of readers and its locks take. */
const LOCK_FILE_BYTES = 16 * 1024;
/** What may stay reserved: this much and that part where the store is opened or closed... */
const IDLE_MAX_BYTES = 8 * 1024 * 1024;
/** ...and while it is used this much, and half the file, since what was needed may be so again. */
const USED_MAX_BYTES = 16 * 1024 * 1024;

/**
 * Has blocks for the files of a store before LMDB opens them: it maps its lock file, so that a store
 * into one without blocks is SIGBUS on a full disk; and it makes its tables in the other.
 *
 * @throws DaxdError ENOSPC, EDQUOT; what node:fs throws.
 */
export function reserveFiles(path: string): void {
  reserveFile(`${path}-lock`, LOCK_FILE_BYTES);
  // One that there is has its room, and daxd starts on a full disk.
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) === 0) {
    reserveFile(path, RESERVED_BYTES);
  }
}

function reserveFile(path: string, length: number): void {
  const fd = openSync(path, 'a+');
  try {
    fallocate({ fd, path, offset: 0, length }, FallocateMode.KeepSize);
  } catch (error) {
    if (!(error instanceof DaxdError) || error.code !== 'EOPNOTSUPP') throw error;
  } finally {
    closeSync(fd);
  }
}

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

  /** Gives back what another daemon reserved in excess. @throws what node:fs throws. */
  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, 'r+');
    const { size, blocks } = fstatSync(this.#fd);
    const reserved = blocks * STAT_BLOCK_BYTES - size;
    if (reserved > idleMaxBytes(size)) this.#giveBack(size);
  }

  /**
   * Whether there is room to grow by so many bytes, beside all that is reserved. Where not, what
   * takes no more room than it gives back can go on.
   *
   * @param growthOf how much the file may grow, by its size.
   */
  has(growthOf: (fileBytes: number) => number): boolean {
    return this.#hasBeside(1, growthOf);
  }

  /** As {@link has}, and a part of the reserve: for what makes a lease smaller, and for memories. */
  hasForLess(growthOf: (fileBytes: number) => number): boolean {
    return this.#hasBeside(1 - RESERVED_FOR_LESS, growthOf);
  }

  /** As {@link has}, and all of the reserve. */
  hasReserved(growthOf: (fileBytes: number) => number): boolean {
    return this.#hasBeside(0, growthOf);
  }

  #hasBeside(reservedPart: number, growthOf: (fileBytes: number) => number): boolean {
    const { size } = fstatSync(this.#fd);
    const wanted = size + growthOf(size) + Math.ceil(reservedBytes(size) * reservedPart);
    if (wanted <= this.#end) return true;
    return this.#extend(size, wanted + STEP_BYTES) || this.#extend(size, wanted);
  }

  /** Gives back what was reserved for a large transaction, once it is written. */
  settle(): void {
    // All that is reserved is no more than may stay: so it is nearly always.
    if (this.#end <= USED_MAX_BYTES) return;
    const { size } = fstatSync(this.#fd);
    this.#keepAtMost(size, USED_MAX_BYTES + size / 2);
  }

  /** Leaves room for the next start. To be called when the file is not written any more. */
  close(): void {
    const { size } = fstatSync(this.#fd);
    this.#keepAtMost(size, idleMaxBytes(size));
    closeSync(this.#fd);
  }

  #keepAtMost(size: number, bytes: number): void {
    if (this.#end !== Infinity && this.#end - size > bytes) this.#giveBack(size);
  }

  /** All behind the end of the file goes, and what is kept there always is reserved anew. */
  #giveBack(size: number): void {
    try {
      ftruncateSync(this.#fd, size);
    } catch {
      // It stays reserved: the leases are as safe as they were.
      return;
    }
    this.#end = size;
    this.#extend(size, size + reservedBytes(size) + STEP_BYTES);
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

function reservedBytes(fileBytes: number): number {
  return RESERVED_BYTES + fileBytes / RESERVED_PART;
}

function idleMaxBytes(fileBytes: number): number {
  return IDLE_MAX_BYTES + fileBytes / RESERVED_PART;
}
