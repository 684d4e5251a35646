import { assert } from '../lib/assert.js';
import type { ByteRange } from '../lib/byte-range.js';
import type { Backing } from './backing.js';

/**
 * A stretch of a backing with bounds of its own: the whole disk, or one partition. Offsets
 * count from its start, and none reaches past its end: a range outside is a defect of the
 * caller and breaks an assertion.
 */
export class BackingRange {
  readonly backing: Backing;
  /** Where it begins, in bytes of the backing. */
  readonly start: number;
  readonly length: number;

  constructor(backing: Backing, start: number, length: number) {
    assert(
      Number.isSafeInteger(start) && start >= 0 && Number.isSafeInteger(length) && length >= 0,
      'a backing range starts and ends at whole numbers from 0 on',
    );
    assert(start + length <= backing.sizeBytes, 'a backing range lies inside its backing');
    this.backing = backing;
    this.start = start;
    this.length = length;
  }

  get readOnly(): boolean {
    return this.backing.readOnly;
  }

  /**
   * The live bytes of [offset, offset + length), within one window of the mapping.
   *
   * @hot Once a metadata block read.
   */
  view(offset: number, length: number): Buffer {
    this.#assertInside(offset, length);
    return this.backing.mapping.view(this.start + offset, length);
  }

  /**
   * Copies `target.length` bytes from `offset` on into `target`, by a system call where the backing
   * has one: a touch of the mapping would end the process where the backing has shrunk, and fill a
   * hole that is looked at.
   *
   * @throws DaxdError as `Backing.pread` does.
   * @hot Once a block read.
   */
  read(offset: number, target: Uint8Array): void {
    this.#assertInside(offset, target.length);
    const { backing } = this;
    if (backing.pread === undefined) backing.mapping.read(this.start + offset, target);
    else backing.pread(this.start + offset, target);
  }

  /**
   * Sees to it that stores to [offset, offset + length) find room on the disk.
   *
   * @throws DaxdError ENOSPC as `Backing.allocate` does.
   * @hot Once a block write.
   */
  allocate(offset: number, length: number): void {
    this.#assertInside(offset, length);
    this.backing.allocate?.(this.start + offset, length);
  }

  /**
   * Copies `source` to `offset`. Durable only after {@link persist}.
   *
   * @throws DaxdError ENOSPC as {@link allocate} does.
   * @hot Once a block write.
   */
  write(offset: number, source: Uint8Array): void {
    this.allocate(offset, source.length);
    this.backing.mapping.write(this.start + offset, source);
  }

  /**
   * Sets every byte of [offset, offset + length) to `value`, 0 to 255.
   *
   * @throws DaxdError ENOSPC as {@link allocate} does.
   */
  fill(offset: number, length: number, value: number): void {
    this.allocate(offset, length);
    this.backing.mapping.fill(this.start + offset, length, value);
  }

  /**
   * The parts of [offset, offset + length) that may hold anything but zeros, ascending; the
   * whole where the media cannot tell.
   *
   * @throws DaxdError EIO as `Backing.dataRuns` does.
   */
  *dataRuns(offset: number, length: number): Generator<ByteRange> {
    this.#assertInside(offset, length);
    const runs = this.backing.dataRuns?.(this.start + offset, length);
    if (runs === undefined) {
      yield { offset, length };
      return;
    }
    for (const run of runs) yield { offset: run.offset - this.start, length: run.length };
  }

  /**
   * Makes the stores to [offset, offset + length) durable.
   *
   * @throws DaxdError EIO as `Backing.persist` does.
   */
  async persist(offset: number, length: number): Promise<void> {
    this.#assertInside(offset, length);
    await this.backing.persist(this.start + offset, length);
  }

  /** A stretch of this stretch; `offset` counts from the start of this one. */
  slice(offset: number, length: number): BackingRange {
    this.#assertInside(offset, length);
    return new BackingRange(this.backing, this.start + offset, length);
  }

  #assertInside(offset: number, length: number): void {
    assert(
      offset >= 0 && length >= 0 && offset + length <= this.length,
      'an access lies inside its backing range',
    );
  }
}
