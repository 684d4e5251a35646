import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import { LatencyHistogram, WAIT_BOUNDS_SECONDS } from '../lib/latency-histogram.js';
import { hasEnded } from './lease-state.js';
import type { HeldState, LeaseState } from './lease-state.js';
import type { Lease } from './lease.js';
import type { LeaseAccess } from './lease-terms.js';

/** How a request for a lease ended. */
export type LeaseOutcome = 'granted' | 'conflict' | 'recall_conflict' | 'error';

/** Plain counts, for whoever exports them. */
export class LeaseCounters {
  /** Requests for a lease since the start. */
  readonly requests: Record<LeaseOutcome, number> = {
    granted: 0,
    conflict: 0,
    recall_conflict: 0,
    error: 0,
  };
  /** Attempts to fence a holder since the start. */
  readonly fences: Record<'fenced' | 'failed', number> = { fenced: 0, failed: 0 };
  /** Leases held now. */
  readonly held: Record<HeldState, Record<LeaseAccess, number>> = {
    active: { read: 0, write: 0 },
    suspect: { read: 0, write: 0 },
    reclaimable: { read: 0, write: 0 },
    quarantined: { read: 0, write: 0 },
  };
  /** From grant to release. */
  readonly holdSeconds = new LatencyHistogram(WAIT_BOUNDS_SECONDS);

  /** How many leases are in a state. */
  count(state: HeldState): number {
    const { read, write } = this.held[state];
    return read + write;
  }

  /** A lease came into `state`, from `from` unless it is new. */
  entered(lease: Lease, from?: LeaseState): void {
    const { access } = lease.terms;
    if (from !== undefined && !hasEnded(from)) {
      this.held[from][access]--;
      assert(this.held[from][access] >= 0, 'a lease leaves a state that it was in');
    }
    const { state } = lease;
    if (!hasEnded(state)) this.held[state][access]++;
  }

  /** A request was refused. EBUSY is a conflict with a claim: leases never conflict with leases. */
  refused(error: unknown): void {
    const code = error instanceof DaxdError ? error.code : undefined;
    if (code === 'recall-conflict') this.requests.recall_conflict++;
    else if (code === 'EBUSY') this.requests.conflict++;
    else this.requests.error++;
  }
}
