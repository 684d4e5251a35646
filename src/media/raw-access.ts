import { fstatSync } from 'node:fs';

import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE, roundDown, roundUp } from '../lib/units.js';
import { FlushMapping } from './flush-mapping.js';
import { seekData, seekHole } from './seek-data.js';
import { loadPmemPersistSync } from './libpmem.js';
import { Advice, madvise, msync } from './mman.js';
import type { RawMemory } from './raw-memory.js';
import { fileSystemError } from './system-call-error.js';

/**
 * What a thread that serves block requests does to the media beside moving bytes; it blocks. One
 * for each client: it tells of what could not be made durable since it was made.
 */
export class RawAccess {
  readonly memory: RawMemory;
  readonly #pmemPersist: ((address: number, length: number) => void) | undefined;
  /** What msync is given; undefined where it is not called. */
  readonly #flush: FlushMapping | undefined;

  /**
   * @throws DaxdError EOPNOTSUPP when libpmem cannot be loaded where it is needed; what
   *   `FlushMapping` says.
   */
  constructor(memory: RawMemory) {
    this.memory = memory;
    this.#pmemPersist = memory.persistence === 'libpmem' ? loadPmemPersistSync() : undefined;
    this.#flush = memory.persistence === 'msync' ? new FlushMapping(memory) : undefined;
  }

  /** Gives back what it has of its own. Nobody uses it any more. */
  close(): void {
    this.#flush?.close();
  }

  /**
   * Whether each store must be made durable by the thread that made it: a flush of cache
   * lines is ordered by the fence of its own processor alone, so that one flush cannot speak
   * for what other threads stored.
   */
  get persistsEachStore(): boolean {
    return this.#pmemPersist !== undefined;
  }

  /**
   * Makes the stores to [offset, offset + length) of the backing durable, whichever thread
   * made them, and waits for it.
   *
   * @throws DaxdError EIO when they may not be, or others may not that were stored before: that is
   *   told once to each who asks.
   */
  persist(offset: number, length: number): void {
    if (length === 0) return;
    this.#pmemPersist?.(this.#addressOf(offset, length), length);
    if (this.#flush === undefined) return;
    const start = roundDown(offset, PAGE_SIZE);
    const span = roundUp(offset + length, PAGE_SIZE) - start;
    this.#assertInside(start, span);
    try {
      msync(this.#flush.address + start, span, this.memory.path);
    } catch (cause) {
      if (!(cause instanceof DaxdError)) throw cause;
      throw new DaxdError('EIO', `${cause.message}: check the disk below it`, { cause });
    }
  }

  /** Asks the kernel to read ahead; a hint, whose failure changes nothing. */
  willNeed(offset: number, length: number): void {
    const start = roundDown(offset, PAGE_SIZE);
    const span = offset + length - start;
    madvise(this.#addressOf(start, span), span, Advice.WillNeed);
  }

  /** The first byte from `offset` on that is in no hole; undefined when only a hole follows, or nothing. */
  seekData(offset: number): number | undefined {
    const { path, fd } = this.memory;
    return seekData({ path, fd, offset });
  }

  /** The first byte from `offset` on that is in a hole, the end of the file at last. */
  seekHole(offset: number): number | undefined {
    const { path, fd } = this.memory;
    return seekHole({ path, fd, offset });
  }

  /** @throws DaxdError EIO where the file ends before byte `end` by now: it shrank. */
  checkEnd(end: number): void {
    const { path } = this.memory;
    const sizeNowBytes = this.#sizeNowBytes();
    if (sizeNowBytes >= end) return;
    throw new DaxdError('EIO', `${path} ends at byte ${sizeNowBytes}: restore it from a backup`);
  }

  /**
   * Why a system call found [offset, offset + length) of the mapping bad: EIO where the file
   * shrank or its disk failed, ENOSPC where a hole could not be filled. EIO too where nobody can
   * tell: on a disk that fails, whoever asks about the file may get no answer either.
   */
  whyBad(offset: number, length: number): 'EIO' | 'ENOSPC' {
    const { kind, fd } = this.memory;
    try {
      if (kind !== 'file' || fstatSync(fd).size < offset + length) return 'EIO';
      return this.#hasHole(offset, length) ? 'ENOSPC' : 'EIO';
    } catch {
      return 'EIO';
    }
  }

  #sizeNowBytes(): number {
    try {
      return fstatSync(this.memory.fd).size;
    } catch (cause) {
      throw fileSystemError(`look at the size of ${this.memory.path}`, cause);
    }
  }

  #hasHole(offset: number, length: number): boolean {
    const hole = this.seekHole(offset);
    return hole !== undefined && hole < offset + length;
  }

  #addressOf(offset: number, length: number): number {
    this.#assertInside(offset, length);
    return this.memory.address + offset;
  }

  #assertInside(offset: number, length: number): void {
    assert(
      offset >= 0 && length >= 0 && offset + length <= this.memory.length,
      'an access lies inside its backing',
    );
  }
}
