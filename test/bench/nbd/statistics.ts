/** Where a median lies, with the probability that it does. */
export interface Interval {
  readonly low: number;
  readonly high: number;
  /** 0 to 1. Below {@link CONFIDENCE} where there are too few samples for more. */
  readonly coverage: number;
}

const CONFIDENCE = 0.95;

/** The middle sample, or the mean of both middle ones. */
export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined) throw new Error('a median needs samples');
  return (lower + upper) / 2;
}

/**
 * The interval between two order statistics that holds the median with {@link CONFIDENCE} at
 * least, whatever the distribution: each sample lies below the median with probability 1/2, so
 * the number of those that do is binomial. Of nine samples it is the second and the second last.
 */
export function medianInterval(samples: readonly number[]): Interval {
  const sorted = samples.toSorted((a, b) => a - b);
  let cut = 0;
  while (coverage(sorted.length, cut + 1) >= CONFIDENCE) cut++;
  const [low, high] = [sorted[cut], sorted.at(-1 - cut)];
  if (low === undefined || high === undefined) throw new Error('an interval needs samples');
  return { low, high, coverage: coverage(sorted.length, cut) };
}

/** How probably the median lies between the samples left when `cut` go at either end. */
function coverage(count: number, cut: number): number {
  let tail = 0;
  let outcomes = 1;
  for (let below = 0; below <= cut; below++) {
    tail += outcomes;
    outcomes = (outcomes * (count - below)) / (below + 1);
  }
  return 1 - (2 * tail) / 2 ** count;
}
