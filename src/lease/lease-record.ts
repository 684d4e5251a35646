import type { Holding } from './holding.js';
import type { EndState } from './lease-state.js';
import type { GrantKey, LeaseTerms } from './lease-terms.js';

/** What outlives the daemon of a lease that is held. */
export interface LeaseRecord {
  readonly terms: LeaseTerms;
  readonly holding: Holding;
  /** Why its pages are in quarantine; absent while they are not. */
  readonly quarantined?: QuarantineCause | undefined;
  /**
   * It has ended, or is the part of a lease that was given back, and only the blocks that the
   * filesystem keeps for it are not freed yet.
   */
  readonly ended?: boolean | undefined;
}

/** Why a lease is in quarantine. */
export interface QuarantineCause {
  readonly reason: string;
  /**
   * A change of daxd's own that would not wait moved its pages out of its file; somebody else
   * changed the media; or it was revoked, and its pages are in its file still.
   */
  readonly cause: 'deferred' | 'foreign' | 'revoked';
  /** Whether it was revoked, whatever became of its pages: proof that it is fenced is sought. */
  readonly isRevoked?: boolean | undefined;
}

/** What is remembered of a lease that ended. */
export interface LeaseTombstone {
  readonly terms: Omit<LeaseTerms, 'generation' | 'inode' | 'media'>;
  readonly state: EndState;
  readonly reason: string;
  /** In milliseconds since the epoch. */
  readonly endedMs: number;
  /** Why its pages were in quarantine. */
  readonly quarantined?: QuarantineCause | undefined;
}

/** Which lease was granted to a request with a key. */
export interface KeptKey extends GrantKey {
  readonly lease: string;
  /** In milliseconds since the epoch. */
  readonly grantedMs: number;
}

/** What came to be remembered in one transaction. */
export interface RememberedRound {
  /** In milliseconds since the epoch. */
  readonly atMs: number;
  /** Leases that ended. */
  readonly ids: readonly string[];
  /** Ids of keys. */
  readonly keys: readonly string[];
  /** Operations that ended; absent where there are none, as in rounds of earlier versions. */
  readonly operations?: readonly string[];
}

/** What a store says of itself: whose leases it keeps, and when. */
export interface StoreHeader {
  /** Names the namespace, so that its leases are never put on another one. */
  readonly media: string;
  /** The boot of the machine in which its times count (proc(5), random/boot_id). */
  readonly bootId: string;
  /**
   * Starts of a daemon on the clock of that boot, ascending: those that the grace of a lease may
   * count from, and the newest one before them.
   */
  readonly startsMs: readonly number[];
}

/** A header, and the version of daxd's records behind it. */
export interface VersionedHeader extends StoreHeader {
  readonly version: number;
}
