import type { Lease } from './lease.js';

/** What an attempt to fence a holder came to. */
export interface FenceOutcome {
  /** Whether it is proven that the holder's devices reach the pages of the lease no more. */
  readonly isFenced: boolean;
  /** What was said, for people. */
  readonly detail: string;
}

/** Cuts holders of leases off from their pages. */
export interface Fence {
  /** May be called again for the same lease, whatever came of it before. Never rejects. */
  fence(lease: Lease): Promise<FenceOutcome>;
  /** Ends what runs, and begins nothing more: whatever is not done yet, or asked later, fences nobody. */
  stop(): void;
}
