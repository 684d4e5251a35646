import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import type { SortableIds } from '../lib/sortable-id.js';
import type { ByteRange } from '../lib/byte-range.js';
import { LEASE_RANGES_MAX, TTL_MS_MAX, TTL_MS_MIN } from './limits.js';
import type { GrantKey, LeaseAccess } from './lease-terms.js';

/** What a client asks for. */
export interface LeaseRequest {
  readonly partition: string;
  /** A file from the partition's root, symlinks followed; without it the raw partition. */
  readonly path?: string | undefined;
  /** First byte, within the file or the raw partition. */
  readonly offset: number;
  /** Bytes, 1 or more. */
  readonly length: number;
  readonly access: LeaseAccess;
  /** From TTL_MS_MIN to TTL_MS_MAX. */
  readonly ttlMs: number;
  /** How long it waits for changes that are pending there, in milliseconds; 0 or absent: not. */
  readonly waitMs?: number | undefined;
  /** What the holder calls itself. */
  readonly client?: string | undefined;
  /** SHA-256 of what the holder shows to renew and release; the lease keeps it. */
  readonly secretHash?: string | undefined;
  /** What the secret was made from beside the key; the lease keeps it. */
  readonly secretSalt?: string | undefined;
  /** Has the same request grant one lease, however often it is sent. */
  readonly key?: GrantKey | undefined;
  /** The holder's process; together with `pidStart` or not at all. */
  readonly pid?: number | undefined;
  /** Field 22 of /proc/PID/stat, read by the holder. */
  readonly pidStart?: number | undefined;
  /** In the place of a process a cgroup: what the line 0:: of /proc/PID/cgroup says of it. */
  readonly cgroup?: string | undefined;
}

/** Checks what can be told without looking at anything. @throws DaxdError EINVAL */
export function checkLeaseRequest(request: LeaseRequest): void {
  checkByteRange('lease', request);
  const { ttlMs } = request;
  if (!Number.isSafeInteger(ttlMs) || ttlMs < TTL_MS_MIN || ttlMs > TTL_MS_MAX) {
    throw new DaxdError(
      'EINVAL',
      `ttl_ms ${ttlMs} is not a whole number from ${TTL_MS_MIN} to ${TTL_MS_MAX}`,
    );
  }
}

/** @throws DaxdError EINVAL unless both are whole numbers, length 1 or more, and the end is below 2 ** 53. */
function checkByteRange(
  name: string,
  { offset, length }: { readonly offset: number; readonly length: number },
): void {
  const isRange =
    Number.isSafeInteger(offset) && offset >= 0 && Number.isSafeInteger(length) && length >= 1;
  if (!isRange || !Number.isSafeInteger(offset + length)) {
    throw new DaxdError(
      'EINVAL',
      `${name} of offset ${offset} and length ${length}: give bytes, offset 0 or more, length 1 or more, end below 2^53`,
    );
  }
}

/** @throws DaxdError EINVAL for a bad range, or for more than LEASE_RANGES_MAX. */
export function checkReleaseRanges(ranges: readonly ByteRange[]): void {
  if (ranges.length > LEASE_RANGES_MAX) {
    throw new DaxdError(
      'EINVAL',
      `${ranges.length} ranges in one release, at most ${LEASE_RANGES_MAX}: send more releases`,
    );
  }
  for (const range of ranges) checkByteRange('release', range);
}

/** Says in the log who asked for what in vain. */
export function logRefusal(
  { ids, log }: { readonly ids: SortableIds; readonly log: Logger },
  { partition, path, offset, length, access, client }: LeaseRequest,
  error: unknown,
): void {
  const code = error instanceof DaxdError ? error.code : undefined;
  const detail = error instanceof Error ? error.message : String(error);
  // The id names the refused request in the log alone; no lease will ever have it.
  log.info(
    { lease: ids.next(), partition, path, offset, length, access, client, code, detail },
    'lease refused',
  );
}
