import type { CancelTimer, Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import type { Fence } from './fence.js';
import type { HeldLeases } from './held-leases.js';
import type { LeaseCheck } from './lease-check.js';
import { EvictionStop } from './eviction-stop.js';
import { hasEnded } from './lease-state.js';
import type { LeaseState } from './lease-state.js';
import type { LeaseSteps } from './lease-steps.js';
import type { Lease } from './lease.js';
import { FENCE_PAUSE_MS_MAX, FENCE_PAUSE_MS_MIN } from './limits.js';
import { runEnd } from './page-runs.js';
import { endOf } from './holder.js';
import type { HolderTable } from './holder.js';
import type { RecallClock, RecallingChange } from './recall-clock.js';

/** What {@link Revocation} stands on. */
export interface RevocationOptions {
  readonly held: HeldLeases;
  readonly steps: Pick<LeaseSteps, 'end' | 'revoke'>;
  readonly holders: HolderTable;
  readonly recallClock: Pick<RecallClock, 'restMs'>;
  /** Undefined: no proof is to be had but from holders and their end. */
  readonly fence: Fence | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A change that leases are in the way of. */
export interface EvictingChange extends RecallingChange {
  readonly op: string;
  readonly inode: number;
  /** The bytes of the file that change, half open; `to` may be Infinity. */
  readonly from: number;
  readonly to: number;
}

/** What became of a lease that was in the way. */
export interface Evicted {
  readonly lease: string;
  /** `active` where its holder gave the pages back and kept others. */
  readonly state: LeaseState;
  /** What proves that its pages are used no more, or why there is no proof. */
  readonly detail?: string;
}

/**
 * Takes leases from their holders. The ladder, from the gentlest rung: the holder releases, its
 * end is seen, a fence command says that its devices are cut off. Only proof frees pages: without
 * it they stay pinned, and the command is run again, with pauses that grow.
 *
 * That a lease is revoked is durable before anybody is fenced: a holder that was cut off never
 * finds its lease alive.
 */
export class Revocation {
  readonly #options: RevocationOptions;
  readonly #fencing = new Map<Lease, Promise<void>>();
  readonly #retries = new Map<Lease, { readonly cancel: CancelTimer; readonly pauseMs: number }>();
  #closed = false;

  constructor(options: RevocationOptions) {
    this.#options = options;
  }

  /**
   * Gets the pages of a change back from those that have them, each in its time. To be awaited
   * while the barrier of the change keeps new leases out. What is pinned afterwards has no
   * holder with rights any more. Settles early when `signal` aborts; a holder that is being
   * fenced then goes on being fenced.
   *
   * @throws DaxdError ENOSPC, EIO when the store fails: no other lease is taken then.
   */
  async evict(partition: string, change: EvictingChange, signal: AbortSignal): Promise<Evicted[]> {
    const { inode, from, to } = change;
    const leases = [...this.#options.held.index.pinning(partition, inode, from, to)];
    const stop = new EvictionStop(signal);
    const evictions = leases.map(async (lease) => {
      try {
        await this.#evictOne(lease, change, stop);
      } catch (error) {
        stop.now();
        throw error;
      }
      const { ended, quarantined } = lease.view();
      const detail = ended ?? quarantined;
      return { lease: lease.id, state: lease.state, ...(detail !== undefined && { detail }) };
    });
    await Promise.allSettled(evictions);
    stop.forget();
    return Promise.all(evictions);
  }

  /**
   * Takes a lease from its holder now. Settles when it has ended, or the first try to fence
   * its holder has failed; the pages are pinned still then.
   *
   * @throws DaxdError ENOSPC, EIO when the store fails, what `check` throws: the lease is as it was.
   */
  async revoke(lease: Lease, reason: string, check?: LeaseCheck): Promise<void> {
    await this.#takeRights(lease, reason, check);
    await this.#fence(lease);
  }

  async #takeRights(lease: Lease, reason: string, check?: LeaseCheck): Promise<void> {
    const { steps, holders } = this.#options;
    await lease.inTurn(async () => {
      check?.(lease);
      const { holder } = lease.terms;
      if (holder !== undefined && holders.presence(holder) === 'gone') {
        await steps.end(lease, { state: 'released', reason: endOf(holder) });
      } else {
        await steps.revoke(lease, reason);
      }
    });
  }

  /**
   * Revokes the leases in the way of a change that have lapsed, where a fence command may free
   * their pages: their holders have no rights left, and somebody waits.
   */
  blocked(partition: string, { op, id, inode, from, to }: EvictingChange): void {
    if (this.#options.fence === undefined) return;
    for (const lease of this.#options.held.index.pinning(partition, inode, from, to)) {
      if (lease.state === 'suspect') this.lapsed(lease, `${op} ${id}`);
    }
  }

  /** Revokes a lease that has lapsed, where a fence command may free what `waiting` waits for. */
  lapsed(lease: Lease, waiting: string): void {
    if (this.#options.fence === undefined) return;
    const reason = `its ttl had passed, and ${waiting} waited for it`;
    this.#inBackground(lease, () => this.#revokeLapsed(lease, reason));
  }

  /** Again, too: a lease that its holder has renewed meanwhile is its holder's. */
  async #revokeLapsed(lease: Lease, reason: string): Promise<void> {
    if (lease.quarantined?.isRevoked === true) await this.#fence(lease);
    else if (lease.state === 'suspect') await this.revoke(lease, reason);
  }

  /**
   * Ends a lease whose holder is known to be gone; does nothing where there is none. Where the
   * store fails it is tried again.
   */
  async proven(id: string, reason: string): Promise<void> {
    const { clock, held, log, steps } = this.#options;
    const lease = held.index.get(id);
    if (lease === undefined || this.#closed) return;
    try {
      await lease.inTurn(() => steps.end(lease, { state: 'released', reason }));
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      log.error({ lease: id, code: error.code }, error.message);
      clock.setTimer(() => {
        void this.proven(id, reason);
      }, FENCE_PAUSE_MS_MIN);
    }
  }

  /** Takes up the fencing that another daemon, or a change, left undone. */
  resume(): void {
    for (const lease of this.#options.held.quarantined) {
      if (lease.quarantined?.isRevoked === true) {
        this.#inBackground(lease, () => this.#fence(lease));
      }
    }
  }

  /**
   * Ends all retries and what has not begun. Settles when no fence command runs any more: those
   * that do, FENCES_MAX at most, have FENCE_MS_MAX.
   */
  async close(): Promise<void> {
    this.#closed = true;
    this.#options.fence?.stop();
    for (const { cancel } of this.#retries.values()) cancel();
    this.#retries.clear();
    await Promise.allSettled(this.#fencing.values());
  }

  async #evictOne(lease: Lease, change: EvictingChange, stop: EvictionStop): Promise<void> {
    while (!stop.isNow && isInTheWay(lease, change)) {
      const restMs = this.#options.recallClock.restMs(lease, change);
      if (restMs <= 0) {
        await this.#takeRights(lease, `revoked by ${change.op} ${change.id}`);
        await this.#fenceUntil(lease, stop);
        return;
      }
      await this.#untilLess(lease, restMs, stop);
    }
  }

  /** Fences a holder, in the background once the eviction stops. */
  async #fenceUntil(lease: Lease, stop: EvictionStop): Promise<void> {
    const fencing = this.#fence(lease);
    if (!stop.isNow) {
      await new Promise<void>((resolve, reject) => {
        const unsubscribe = stop.onStop(resolve);
        fencing.finally(unsubscribe).then(resolve, reject);
      });
    }
    if (stop.isNow) this.#inBackground(lease, () => this.#fence(lease), fencing);
  }

  async #untilLess(lease: Lease, restMs: number, stop: EvictionStop): Promise<void> {
    const { clock, held } = this.#options;
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        cancelTimer();
        unsubscribe();
        goOn();
        resolve();
      };
      const cancelTimer = clock.setTimer(finish, restMs);
      const unsubscribe = held.onLess(lease, finish);
      const goOn = stop.onStop(finish);
    });
  }

  /** One attempt at a time for each lease. */
  async #fence(lease: Lease): Promise<void> {
    const { fence } = this.#options;
    if (fence === undefined || this.#closed || hasEnded(lease.state)) return;
    const running = this.#fencing.get(lease) ?? this.#tryFence(lease, fence);
    this.#fencing.set(lease, running);
    try {
      await running;
    } finally {
      this.#fencing.delete(lease);
    }
  }

  async #tryFence(lease: Lease, fence: Fence): Promise<void> {
    const { held, log, steps } = this.#options;
    const { isFenced, detail } = await fence.fence(lease);
    held.counters.fences[isFenced ? 'fenced' : 'failed']++;
    if (!isFenced) {
      log.error({ lease: lease.id, detail }, 'holder not fenced: its pages stay pinned');
      this.#retryLater(lease, () => this.#fence(lease));
      return;
    }
    try {
      await lease.inTurn(() => steps.end(lease, { state: 'revoked', reason: `fenced: ${detail}` }));
      this.#retries.delete(lease);
    } catch (error) {
      // Whoever waits is told of it; nobody may wait.
      this.#retryLater(lease, () => this.#fence(lease));
      throw error;
    }
  }

  #retryLater(lease: Lease, again: () => Promise<void>): void {
    if (this.#closed) return;
    const { pauseMs: lastMs = 0, cancel: cancelLast } = this.#retries.get(lease) ?? {};
    cancelLast?.();
    const pauseMs = Math.min(Math.max(lastMs * 2, FENCE_PAUSE_MS_MIN), FENCE_PAUSE_MS_MAX);
    const cancel = this.#options.clock.setTimer(() => {
      if (hasEnded(lease.state)) this.#retries.delete(lease);
      else this.#inBackground(lease, again);
    }, pauseMs);
    this.#retries.set(lease, { cancel, pauseMs });
  }

  /** Does what nobody waits for. Where the store fails, the lease is held still, and it is done again. */
  #inBackground(lease: Lease, again: () => Promise<void>, work = again()): void {
    work.catch((error: unknown) => {
      if (!(error instanceof DaxdError)) throw error;
      this.#options.log.error({ lease: lease.id, code: error.code }, error.message);
      this.#retryLater(lease, again);
    });
  }
}

/** The pages of a lease that a change went on without are no file's any more. */
function isInTheWay({ runs, quarantined }: Lease, { from, to }: EvictingChange): boolean {
  return (
    quarantined?.cause !== 'deferred' && runs.some((run) => run.offset < to && runEnd(run) > from)
  );
}
