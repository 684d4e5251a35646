import { DaxdError } from '../lib/errno.js';

const NS_PER_MS = 1_000_000n;
const NS_PER_SECOND = 1_000_000_000n;
const TIMESTAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/;

/** Nanoseconds since the epoch as RFC 3339 in UTC, with nine digits of fraction. */
export function timestampFromNs(ns: bigint): string {
  // BigInt division rounds towards zero; times before the epoch need the floor.
  const fraction = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  const second = isoOfMs(Number((ns - fraction) / NS_PER_MS)).slice(0, -'.000Z'.length);
  return `${second}.${fraction.toString().padStart(9, '0')}Z`;
}

/**
 * Nanoseconds since the epoch from RFC 3339 in UTC, with up to nine digits of fraction.
 *
 * @throws DaxdError EINVAL for another form, and for a day or time that there is not.
 */
export function nsFromTimestamp(text: string): bigint {
  const [, second, fraction = ''] = TIMESTAMP.exec(text) ?? [];
  // oxlint-disable-next-line no-restricted-globals -- reads the text it is given, no clock
  const ms = second === undefined ? NaN : Date.parse(`${second}Z`);
  // 30 February is read as a day in March.
  if (Number.isNaN(ms) || isoOfMs(ms) !== `${second}.000Z`) {
    throw new DaxdError('EINVAL', `"${text}" is no time such as 2026-01-31T12:00:00.5Z`);
  }
  return BigInt(ms) * NS_PER_MS + BigInt(fraction.padEnd(9, '0'));
}

/** Milliseconds since the epoch as RFC 3339 in UTC. */
export function timestampFromMs(wallMs: number): string {
  return isoOfMs(wallMs);
}

function isoOfMs(wallMs: number): string {
  // oxlint-disable-next-line no-restricted-globals -- formats the time it is given, reads no clock
  return new Date(wallMs).toISOString();
}
