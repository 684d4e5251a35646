const NS_PER_MS = 1_000_000n;
const NS_PER_SECOND = 1_000_000_000n;

/** Nanoseconds since the epoch as RFC 3339 in UTC, with nine digits of fraction. */
export function timestampFromNs(ns: bigint): string {
  // BigInt division rounds towards zero; times before the epoch need the floor.
  const fraction = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  const second = isoOfMs(Number((ns - fraction) / NS_PER_MS)).slice(0, -'.000Z'.length);
  return `${second}.${fraction.toString().padStart(9, '0')}Z`;
}

/** Milliseconds since the epoch as RFC 3339 in UTC. */
export function timestampFromMs(wallMs: number): string {
  return isoOfMs(wallMs);
}

function isoOfMs(wallMs: number): string {
  // oxlint-disable-next-line no-restricted-globals -- formats the time it is given, reads no clock
  return new Date(wallMs).toISOString();
}
