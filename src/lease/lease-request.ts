import { DaxdError } from '../lib/errno.js';
import type { LeaseAccess } from './lease.js';
import { TTL_MS_MAX, TTL_MS_MIN } from './limits.js';
import type { ProcessRef } from './process-table.js';

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
  /** What the holder calls itself. */
  readonly client?: string | undefined;
  /** SHA-256 of what the holder shows to renew and release; the lease keeps it. */
  readonly secretHash?: string | undefined;
  /** The holder's process; together with `pidStart` or not at all. */
  readonly pid?: number | undefined;
  /** Field 22 of /proc/PID/stat, read by the holder. */
  readonly pidStart?: number | undefined;
}

/**
 * Checks what can be told without looking at the file.
 *
 * @returns the process with whose end the lease is to end, if one is named.
 * @throws DaxdError EINVAL
 */
export function checkLeaseRequest(request: LeaseRequest): ProcessRef | undefined {
  checkByteRange('lease', request);
  const { ttlMs } = request;
  if (!Number.isSafeInteger(ttlMs) || ttlMs < TTL_MS_MIN || ttlMs > TTL_MS_MAX) {
    throw new DaxdError(
      'EINVAL',
      `ttl_ms ${ttlMs} is not a whole number from ${TTL_MS_MIN} to ${TTL_MS_MAX}`,
    );
  }
  return holderOf(request);
}

/** @throws DaxdError EINVAL unless both are whole numbers, length 1 or more, and the end is below 2 ** 53. */
export function checkByteRange(
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

function holderOf({ pid, pidStart }: LeaseRequest): ProcessRef | undefined {
  if (pid === undefined && pidStart === undefined) return undefined;
  if (pid === undefined || pidStart === undefined) {
    throw new DaxdError(
      'EINVAL',
      'pid and pid_start go together: pid_start is field 22 of /proc/PID/stat',
    );
  }
  if (!Number.isSafeInteger(pid) || pid < 1 || !Number.isSafeInteger(pidStart) || pidStart < 0) {
    throw new DaxdError(
      'EINVAL',
      `pid ${pid} and pid_start ${pidStart}: give a pid of 1 or more and field 22 of its /proc/PID/stat`,
    );
  }
  return { pid, startTicks: pidStart };
}
