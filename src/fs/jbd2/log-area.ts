import { assert } from '../../lib/assert.js';
import type { ByteRange } from '../../lib/byte-range.js';
import { partitionPoint } from '../../lib/partition-point.js';
import type { BackingRange } from '../../media/backing-range.js';
import type { BlockRun } from '../block-run.js';
import { LOG_BLOCK_SIZE } from './layout.js';

/** Consecutive blocks of the log that lie side by side, and which of the log its first one is. */
type PlacedRun = BlockRun & { readonly first: number };

/**
 * The blocks of a journal, numbered from 0, wherever on the partition they lie. A hostile
 * journal inode has as many runs as blocks, so no access walks through all of them.
 */
export class LogArea {
  readonly blocks: number;
  readonly #range: BackingRange;
  /** In the order of the log; no two that could be one. */
  readonly #runs: readonly PlacedRun[];
  /** The same in the order of the partition. */
  readonly #byStart: readonly PlacedRun[];

  /** @param runs in the order of the log, all of them on the partition, none over another */
  constructor(range: BackingRange, runs: readonly BlockRun[]) {
    const placed: PlacedRun[] = [];
    let first = 0;
    for (const { start, count } of runs) {
      const last = placed.at(-1);
      if (last !== undefined && last.start + last.count === start) {
        placed[placed.length - 1] = { ...last, count: last.count + count };
      } else {
        placed.push({ start, count, first });
      }
      first += count;
    }
    this.#range = range;
    this.#runs = placed;
    this.#byStart = placed.toSorted((a, b) => a.start - b.start);
    this.blocks = first;
  }

  /** Where on the partition it lies. */
  get runs(): readonly BlockRun[] {
    return this.#runs;
  }

  /** Whether a block of the partition belongs to the log. */
  contains(block: number): boolean {
    const run = this.#byStart[lastUpTo(this.#byStart, 'start', block)];
    return run !== undefined && block < run.start + run.count;
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

  /** Sees to it that log blocks [index, index + count) find room on the disk. @throws DaxdError ENOSPC */
  allocate(index: number, count: number): void {
    for (const { offset, length } of this.#stretches(index, count)) {
      this.#range.allocate(offset, length);
    }
  }

  /**
   * Makes the stores to log blocks [index, index + count) durable.
   *
   * @throws DaxdError EIO
   */
  async persist(index: number, count: number): Promise<void> {
    for (const { offset, length } of this.#stretches(index, count)) {
      await this.#range.persist(offset, length);
    }
  }

  /** Where log blocks [index, index + count) lie on the partition. */
  *#stretches(index: number, count: number): Generator<ByteRange> {
    const end = index + count;
    for (let i = lastUpTo(this.#runs, 'first', index); ; i++) {
      const run = this.#runs[i];
      if (run === undefined || run.first >= end) return;
      const from = Math.max(index, run.first);
      const to = Math.min(end, run.first + run.count);
      if (from >= to) continue;
      const offset = (run.start + from - run.first) * LOG_BLOCK_SIZE;
      yield { offset, length: (to - from) * LOG_BLOCK_SIZE };
    }
  }

  #offset(index: number): number {
    const run = this.#runs[lastUpTo(this.#runs, 'first', index)];
    assert(run !== undefined && index < run.first + run.count, 'a log block lies in the log');
    return (run.start + index - run.first) * LOG_BLOCK_SIZE;
  }
}

/** Which of some runs, ascending by `key`, is the last that begins at or before `value`; or -1. */
function lastUpTo(runs: readonly PlacedRun[], key: 'first' | 'start', value: number): number {
  return partitionPoint(runs, (run) => run[key] <= value) - 1;
}
