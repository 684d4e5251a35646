import { assert } from './assert.js';

/**
 * A histogram of durations in plain arrays: recording is one scan of at most some twenty
 * bounds and two stores, and whoever exports it reads the arrays when asked.
 */
export class LatencyHistogram {
  /** Upper bounds of the buckets in seconds, ascending; one more bucket lies above the last. */
  readonly boundsSeconds: Float64Array;
  /** Observations a bucket (not cumulative), one longer than the bounds. */
  readonly counts: Float64Array;
  /** All observed seconds, added up; element 0 of an array so that a store does not box. */
  readonly #sum: Float64Array;

  /**
   * @param cells where it keeps its numbers, {@link cellCount} of them, zeros at first: such as
   *   memory that another thread reads.
   */
  constructor(
    boundsSeconds: readonly number[],
    cells: Float64Array = new Float64Array(LatencyHistogram.cellCount(boundsSeconds)),
  ) {
    assert(
      boundsSeconds.every((bound, i) => i === 0 || bound > (boundsSeconds[i - 1] ?? bound)),
      'bucket bounds ascend',
    );
    this.boundsSeconds = Float64Array.from(boundsSeconds);
    this.counts = cells.subarray(0, boundsSeconds.length + 1);
    this.#sum = cells.subarray(boundsSeconds.length + 1);
  }

  /** How many numbers a histogram with these bounds keeps. */
  static cellCount(boundsSeconds: readonly number[]): number {
    return boundsSeconds.length + 2;
  }

  get sumSeconds(): number {
    return this.#sum[0] ?? 0;
  }

  get count(): number {
    return this.counts.reduce((total, count) => total + count, 0);
  }

  /**
   * Records `times` durations of the same length.
   *
   * @hot Once a page-free wait, a persist, a request, a batch of block requests.
   */
  observe(seconds: number, times = 1): void {
    let bucket = 0;
    while (bucket < this.boundsSeconds.length && seconds > (this.boundsSeconds[bucket] ?? 0))
      bucket++;
    this.counts[bucket] = (this.counts[bucket] ?? 0) + times;
    this.#sum[0] = (this.#sum[0] ?? 0) + seconds * times;
  }
}

/** Bounds for work of microseconds to seconds: a wake, a persist, a request. */
export const FAST_BOUNDS_SECONDS = [
  1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1,
  0.5, 1, 10,
] as const;

/** Bounds for waits on people and devices: a lease held, a truncate that waits. */
export const WAIT_BOUNDS_SECONDS = [
  1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600, 14400, 86400,
] as const;
