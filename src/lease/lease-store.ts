import type { EndedOperation, KeptOperation } from './kept-operation.js';
import type { KeptKey, LeaseRecord, LeaseTombstone, StoreHeader } from './lease-record.js';
import type { MediaIdentity } from './media-identity.js';

/** One change of what is kept. */
export type StoreChange =
  | {
      readonly kind: 'put';
      readonly record: LeaseRecord;
      readonly deadlineMs: number;
      /** It holds less than what is kept under its id. */
      readonly isLess?: true;
    }
  | { readonly kind: 'deadline'; readonly id: string; readonly deadlineMs: number }
  | { readonly kind: 'remove'; readonly id: string }
  | { readonly kind: 'key'; readonly key: KeptKey }
  | { readonly kind: 'operation'; readonly operation: KeptOperation }
  | { readonly kind: 'operation-ended'; readonly id: string }
  | { readonly kind: 'outcome'; readonly operation: EndedOperation }
  | { readonly kind: 'tombstone'; readonly tombstone: LeaseTombstone }
  | { readonly kind: 'header'; readonly header: StoreHeader }
  | { readonly kind: 'left'; readonly partition: string; readonly media: MediaIdentity };

/** A lease that a store kept. */
export interface StoredLease {
  readonly record: LeaseRecord;
  /** When its rights end, as it was noted last, on the clock of the header's boot. */
  readonly deadlineMs: number;
  /** Whether that is only what {@link LeaseStore.renewed} was told: no commit says so yet. */
  readonly isRenewed?: true;
}

/**
 * Keeps the leases of one daemon, and its operations, beyond its end. Whoever opened it is its only user.
 */
export interface LeaseStore {
  /** For people: where it lies. */
  readonly name: string;
  /** Names it wherever it is moved: kept from the first header on. */
  readonly id: string;
  /** Undefined while it was never used. */
  readonly header: StoreHeader | undefined;
  /** Whether it keeps no lease and no operation. */
  readonly isEmpty: boolean;
  /** The largest fencing token of a lease that it ever kept; 0 before the first. */
  readonly fencingToken: number;
  /**
   * What lay on a partition when it was mounted or unmounted last; undefined where it never was.
   *
   * @throws DaxdError EBADMSG where that is damaged.
   */
  left(partition: string): MediaIdentity | undefined;
  /**
   * All leases, ascending by id.
   *
   * @throws DaxdError EBADMSG for one that is damaged.
   */
  stored(): Iterable<StoredLease>;
  /**
   * The operations that have not ended, ascending by id.
   *
   * @throws DaxdError EBADMSG for one that is damaged.
   */
  operations(): Iterable<KeptOperation>;
  /**
   * Makes the changes, all of them or none; settles when they are durable. Calls that come
   * while others are being written share the next sync.
   *
   * @throws DaxdError ENOSPC on a disk that is nearly full, for what takes more of it: removals,
   *   leases that hold less or have ended, deadlines and headers still go through, at the worst
   *   without what is remembered of them; EIO.
   */
  commit(changes: readonly StoreChange[]): Promise<void>;
  /**
   * Takes note of a deadline before this returns, so that it outlives the process, but not the
   * machine. For few renewals: most are told by a commit, and so are these, before long.
   */
  renewed(id: string, deadlineMs: number): void;
  /**
   * How a lease ended: for a day, and as far as not too much is to be remembered since.
   *
   * @throws DaxdError EBADMSG for one that is damaged.
   */
  tombstone(id: string): LeaseTombstone | undefined;
  /** What a key was granted: remembered as long. @throws DaxdError EBADMSG. */
  grantOf(key: string): KeptKey | undefined;
  /** How an operation ended: remembered as long. @throws DaxdError EBADMSG. */
  outcomeOf(operation: string): EndedOperation | undefined;
  /** Settles when what was asked for is done, and the store is free for another user. */
  close(): Promise<void>;
}
