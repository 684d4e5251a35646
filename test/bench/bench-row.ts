/** One line of a benchmark's result. */
export interface BenchRow {
  readonly name: string;
  readonly ours: number;
  readonly peer: number;
  /** Of `ours` and `peer`; a time is the better the less it is. */
  readonly unit: string;
  /** `ours / peer`. */
  readonly ratio: number;
}

/** Rounds in which ours and the peer take turns, so that a slow moment hits both. */
export const ROUNDS = 3;

/** The row of what the rounds measured: the medians of both sides. */
export function medianRow(
  name: string,
  unit: string,
  rounds: readonly { readonly ours: number; readonly peer: number }[],
): BenchRow {
  const ours = quantile(
    rounds.map((round) => round.ours),
    0.5,
  );
  const peer = quantile(
    rounds.map((round) => round.peer),
    0.5,
  );
  return { name, ours, peer, unit, ratio: ours / peer };
}

/** The value below which a share `at` (0 to 1) of the samples lies. */
export function quantile(samples: readonly number[], at: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))];
  if (value === undefined) throw new Error('a quantile needs samples');
  return value;
}
