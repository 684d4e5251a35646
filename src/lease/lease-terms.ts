import type { Holder } from './holder.js';
import type { MediaIdentity } from './media-identity.js';

/** What a lease lets its holder do with the pages. */
export type LeaseAccess = 'read' | 'write';

/** Names a request, so that it can be sent again without a second lease. */
export interface GrantKey {
  /** The client's key, unlike that of any other client. */
  readonly id: string;
  /** Tells requests apart. */
  readonly fingerprint: string;
}

/** What a lease is made of; all offsets and lengths are bytes. */
export interface LeaseTerms {
  readonly id: string;
  /** Larger than that of any lease before, also of earlier daemons. */
  readonly fencingToken: number;
  readonly partition: string;
  /** Which media it was granted on. */
  readonly media: MediaIdentity;
  /** As it was asked for; absent for a lease on a raw partition, like `inode` and `generation`. */
  readonly path?: string | undefined;
  readonly inode?: number | undefined;
  readonly generation?: number | undefined;
  readonly offset: number;
  readonly length: number;
  readonly access: LeaseAccess;
  readonly ttlMs: number;
  /** What the holder calls itself. */
  readonly client?: string | undefined;
  /** SHA-256 of the holder's secret; never shown, never logged. */
  readonly secretHash?: string | undefined;
  /** What the secret was made from beside the key of the request, where that had one. */
  readonly secretSalt?: string | undefined;
  /** With whose end the lease ends. */
  readonly holder?: Holder | undefined;
  /** On the clock of the boot in which it was granted, in milliseconds. */
  readonly grantedMs: number;
}

/** When the rights of a lease end that is never renewed, on the clock of `grantedMs`. */
export function grantedDeadlineMs({ grantedMs, ttlMs }: LeaseTerms): number {
  return grantedMs + ttlMs;
}
