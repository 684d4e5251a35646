import { parseDurationMs } from '../lib/duration.js';
import { DaxdError } from '../lib/errno.js';

/** What an option that is a time says, in milliseconds. @throws DaxdError EINVAL for more than `mostMs`. */
export function durationMsOption(option: string, text: string, mostMs: number): number {
  const durationMs = parseDurationMs(text);
  if (durationMs !== undefined && durationMs <= mostMs) return durationMs;
  throw new DaxdError('EINVAL', `${option} ${text} is too long: give ${mostMs / 60_000}m or less`);
}
