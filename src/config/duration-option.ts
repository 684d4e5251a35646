import { parseDurationMs } from '../lib/duration.js';
import { DaxdError } from '../lib/errno.js';

/** How short and how long a time may be, in milliseconds. */
export interface DurationBounds {
  readonly leastMs?: number;
  readonly mostMs: number;
}

/** What an option that is a time says, in milliseconds. @throws DaxdError EINVAL out of bounds. */
export function durationMsOption(
  option: string,
  text: string,
  { leastMs = 0, mostMs }: DurationBounds,
): number {
  const durationMs = parseDurationMs(text) ?? Infinity;
  if (durationMs > mostMs) {
    throw new DaxdError(
      'EINVAL',
      `${option} ${text} is too long: give ${mostMs / 60_000}m or less`,
    );
  }
  if (durationMs >= leastMs) return durationMs;
  throw new DaxdError('EINVAL', `${option} ${text} is too short: give ${leastMs}ms or more`);
}
