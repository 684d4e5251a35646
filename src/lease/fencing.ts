import type { CancelTimer, Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import type { Fence } from './fence.js';
import type { HeldLeases } from './held-leases.js';
import { hasEnded } from './lease-state.js';
import type { LeaseSteps } from './lease-steps.js';
import type { Lease } from './lease.js';
import { FENCE_PAUSE_MS_MAX, FENCE_PAUSE_MS_MIN } from './limits.js';

/** What {@link Fencing} stands on. */
export interface FencingOptions {
  readonly held: Pick<HeldLeases, 'counters'>;
  readonly steps: Pick<LeaseSteps, 'end'>;
  /** Undefined: no proof is to be had but from holders and their end. */
  readonly fence: Fence | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What is run again for a lease. */
interface Retry {
  /** The pause before it, in milliseconds. */
  readonly pauseMs: number;
  readonly cancel: CancelTimer;
  /** Until its pause is over. */
  isDue: boolean;
}

/**
 * Cuts the holders of revoked leases off, and ends the leases of those that are. What fails is
 * run again, here alone, with pauses from FENCE_PAUSE_MS_MIN that double up to
 * FENCE_PAUSE_MS_MAX, until the lease has ended.
 */
export class Fencing {
  readonly #options: FencingOptions;
  readonly #attempts = new Map<Lease, Promise<void>>();
  readonly #retries = new Map<Lease, Retry>();
  #closed = false;

  constructor(options: FencingOptions) {
    this.#options = options;
  }

  /** Whether there is anything to fence with. */
  get isPossible(): boolean {
    return this.#options.fence !== undefined;
  }

  /**
   * Settles when a revoked lease has ended, or the attempt under way, or a first one, has failed:
   * the next comes by itself then, and the pages stay pinned. Does nothing where there is nothing
   * to fence with.
   *
   * @throws DaxdError ENOSPC, EIO when the store fails: the lease is held still.
   */
  async now(lease: Lease): Promise<void> {
    const { fence } = this.#options;
    if (fence === undefined || this.#closed || hasEnded(lease.state)) return;
    const running = this.#attempts.get(lease) ?? this.#begin(lease, fence);
    await running;
  }

  /**
   * Does the same where nobody waits for it, and tells the log how it failed.
   *
   * @param takeRights revokes the lease first; run again, too, where the store fails. Where it
   *   leaves the lease with its holder, nobody is fenced.
   */
  inBackground(lease: Lease, takeRights?: () => Promise<void>): void {
    this.leave(lease, this.#goOn(lease, takeRights));
  }

  /** Leaves to itself what nobody waits for any more. */
  leave(lease: Lease, work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (!(error instanceof DaxdError)) throw error;
      this.#options.log.error({ lease: lease.id, code: error.code }, error.message);
    });
  }

  /**
   * Ends all retries, and every attempt: the next daemon tries again. Settles when no fence
   * command runs any more.
   */
  async close(): Promise<void> {
    this.#closed = true;
    this.#options.fence?.stop();
    for (const { cancel } of this.#retries.values()) cancel();
    this.#retries.clear();
    await Promise.allSettled(this.#attempts.values());
  }

  async #goOn(lease: Lease, takeRights?: () => Promise<void>): Promise<void> {
    try {
      await takeRights?.();
    } catch (error) {
      this.#retryLater(lease, takeRights);
      throw error;
    }
    if (lease.quarantined?.isRevoked === true) await this.now(lease);
  }

  /** Called where no attempt runs for the lease: there is one at a time. */
  async #begin(lease: Lease, fence: Fence): Promise<void> {
    const attempt = this.#attempt(lease, fence);
    this.#attempts.set(lease, attempt);
    try {
      await attempt;
    } finally {
      this.#attempts.delete(lease);
    }
  }

  async #attempt(lease: Lease, fence: Fence): Promise<void> {
    const { held, log, steps } = this.#options;
    const { isFenced, detail } = await fence.fence(lease);
    held.counters.fences[isFenced ? 'fenced' : 'failed']++;
    if (!isFenced) {
      log.error({ lease: lease.id, detail }, 'holder not fenced: its pages stay pinned');
      this.#retryLater(lease);
      return;
    }
    try {
      await lease.inTurn(() => steps.end(lease, { state: 'revoked', reason: `fenced: ${detail}` }));
      this.#forgetRetry(lease);
    } catch (error) {
      this.#retryLater(lease);
      throw error;
    }
  }

  /** However many wait for a lease, or gave up on it, what comes next for it is one retry. */
  #retryLater(lease: Lease, takeRights?: () => Promise<void>): void {
    const { pauseMs: lastMs = 0, isDue = false } = this.#retries.get(lease) ?? {};
    if (this.#closed || isDue) return;
    const pauseMs = Math.min(Math.max(lastMs * 2, FENCE_PAUSE_MS_MIN), FENCE_PAUSE_MS_MAX);
    const cancel = this.#options.clock.setTimer(() => {
      retry.isDue = false;
      if (hasEnded(lease.state)) this.#retries.delete(lease);
      else this.inBackground(lease, takeRights);
    }, pauseMs);
    const retry: Retry = { pauseMs, cancel, isDue: true };
    this.#retries.set(lease, retry);
  }

  #forgetRetry(lease: Lease): void {
    this.#retries.get(lease)?.cancel();
    this.#retries.delete(lease);
  }
}
