import { assert } from '../../lib/assert.js';
import type { BackingRange } from '../../media/backing-range.js';
import { LOG_BLOCK_SIZE } from './layout.js';

/** Consecutive blocks of the log that lie side by side on the partition. */
export interface LogRun {
  /** Block of the partition that the first one is. */
  readonly start: number;
  readonly count: number;
}

/** The blocks of a journal, numbered from 0, wherever on the partition they lie. */
export class LogArea {
  readonly blocks: number;
  readonly #range: BackingRange;
  readonly #runs: readonly (LogRun & { readonly first: number })[];

  /** @param runs in the order of the log, all of them on the partition, none over another */
  constructor(range: BackingRange, runs: readonly LogRun[]) {
    let first = 0;
    this.#range = range;
    this.#runs = runs.map((run) => {
      const placed = { ...run, first };
      first += run.count;
      return placed;
    });
    this.blocks = first;
  }

  /** Where on the partition it lies. */
  get runs(): readonly LogRun[] {
    return this.#runs;
  }

  /** Whether a block of the partition belongs to the log. */
  contains(block: number): boolean {
    return this.#runs.some(({ start, count }) => block >= start && block < start + count);
  }

  /** A copy of a log block. */
  read(index: number): Buffer {
    const bytes = Buffer.allocUnsafe(LOG_BLOCK_SIZE);
    this.readInto(index, bytes);
    return bytes;
  }

  /** Fills `bytes` from the start of a log block. */
  readInto(index: number, bytes: Buffer): void {
    assert(bytes.length <= LOG_BLOCK_SIZE, 'a read stays in its log block');
    this.#range.read(this.#offset(index), bytes);
  }

  /** Stores bytes to a log block. Durable only after {@link persist}. */
  write(index: number, bytes: Buffer, within = 0): void {
    assert(within + bytes.length <= LOG_BLOCK_SIZE, 'a store stays in its log block');
    this.#range.write(this.#offset(index) + within, bytes);
  }

  /**
   * Makes the stores to log blocks [index, index + count) durable.
   *
   * @throws DaxdError EIO
   */
  async persist(index: number, count: number): Promise<void> {
    for (const { first, start, count: length } of this.#runs) {
      const from = Math.max(index, first);
      const to = Math.min(index + count, first + length);
      if (from >= to) continue;
      const offset = (start + from - first) * LOG_BLOCK_SIZE;
      await this.#range.persist(offset, (to - from) * LOG_BLOCK_SIZE);
    }
  }

  #offset(index: number): number {
    const run = this.#runs.find(({ first, count }) => index >= first && index < first + count);
    assert(run !== undefined, 'a log block lies in the log');
    return (run.start + index - run.first) * LOG_BLOCK_SIZE;
  }
}
