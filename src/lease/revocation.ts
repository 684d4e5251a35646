import { DaxdError } from '../lib/errno.js';
import { withResolvers } from '../lib/with-resolvers.js';
import { Fencing } from './fencing.js';
import type { FencingOptions } from './fencing.js';
import type { HeldLeases } from './held-leases.js';
import { placesInTheWay, reserveRoomFor } from './in-the-way.js';
import { RevocationStop } from './revocation-stop.js';
import type { LeaseState } from './lease-state.js';
import type { LeaseCheck, LeaseSteps } from './lease-steps.js';
import type { LeaseTargets } from './lease-target.js';
import type { Lease } from './lease.js';
import { FENCE_PAUSE_MS_MIN } from './limits.js';
import { endOf } from './holder.js';
import type { HolderTable } from './holder.js';
import type { RecallClock, RecallingChange } from './recall-clock.js';

/** What {@link Revocation} stands on. */
export interface RevocationOptions extends FencingOptions {
  readonly held: HeldLeases;
  readonly steps: Pick<LeaseSteps, 'end' | 'holderGone' | 'revoke'>;
  readonly holders: HolderTable;
  readonly targets: LeaseTargets;
  readonly recallClock: Pick<RecallClock, 'restMs'>;
}

/** A change that leases are in the way of. */
export interface RevokingChange extends RecallingChange {
  readonly op: string;
  readonly inode: number;
  /** The bytes of the file that change, half open; `to` may be Infinity. */
  readonly from: number;
  readonly to: number;
}

/** What became of a lease that was in the way. */
export interface RevokedLease {
  readonly lease: string;
  /** `active` where its holder gave the pages back and kept others. */
  readonly state: LeaseState;
  /** What proves that its pages are used no more, or why there is no proof. */
  readonly detail?: string;
}

/**
 * Takes leases from their holders. The ladder, from the gentlest rung: the holder releases, its
 * end is seen, a fence command says that its devices are cut off. Only proof frees pages: without
 * it they stay pinned, and {@link Fencing} runs the command again.
 *
 * That a lease is revoked is durable before anybody is fenced: a holder that was cut off never
 * finds its lease alive.
 */
export class Revocation {
  readonly #options: RevocationOptions;
  readonly #fencing: Fencing;
  /** What ends the keeping of room in a quarantine, by change. */
  readonly #reserved = new Map<string, () => void>();
  #closed = false;

  constructor(options: RevocationOptions) {
    this.#options = options;
    this.#fencing = new Fencing(options);
  }

  /**
   * Gets the pages of a change back from those that have them, each in its time. To be awaited
   * while the barrier of the change keeps new leases out. What is pinned afterwards has no
   * holder with rights any more. {@link ended} is to be told of its end. Settles early when `signal` aborts; a holder that is being
   * fenced then goes on being fenced.
   *
   * @throws DaxdError ENOSPC, EIO when the store fails: no other lease is taken then.
   *   `quarantine-full` where there is nothing to fence with, and the filesystem may not keep all
   *   of it: none is taken.
   */
  async revokeFor(
    partition: string,
    change: RevokingChange,
    signal: AbortSignal,
  ): Promise<RevokedLease[]> {
    const { inode, from, to } = change;
    const leases = [...this.#options.held.index.pinning(partition, inode, from, to)];
    const stop = new RevocationStop(signal);
    try {
      if (!this.#fencing.isPossible) await this.#untilKeepable(partition, leases, change, stop);
      const revocations = leases.map(async (lease) => this.#revokeOne(lease, change, stop));
      await Promise.allSettled(revocations);
      return await Promise.all(revocations);
    } finally {
      stop.now();
      stop.forget();
    }
  }

  /** Takes note that a change has ended: what it needed of a quarantine it has taken. */
  ended(change: string): void {
    this.#reserved.get(change)?.();
    this.#reserved.delete(change);
  }

  /**
   * Takes a lease from its holder now. Settles when it has ended, or the first try to fence
   * its holder has failed; the pages are pinned still then.
   *
   * @throws DaxdError ENOSPC, EIO when the store fails, what `check` throws: the lease is as it was.
   */
  async revoke(lease: Lease, reason: string, check?: LeaseCheck): Promise<void> {
    await this.#takeRights(lease, reason, check);
    await this.#fencing.now(lease);
  }

  /**
   * Revokes the leases in the way of a change that have lapsed, where a fence command may free
   * their pages: their holders have no rights left, and somebody waits.
   */
  blocked(partition: string, { op, id, inode, from, to }: RevokingChange): void {
    if (!this.#fencing.isPossible) return;
    for (const lease of this.#options.held.index.pinning(partition, inode, from, to)) {
      if (lease.state === 'suspect') this.lapsed(lease, `${op} ${id}`);
    }
  }

  /** Revokes a lease that has lapsed, where a fence command may free what `waiting` waits for. */
  lapsed(lease: Lease, waiting: string): void {
    if (!this.#fencing.isPossible) return;
    const reason = `its ttl had passed, and ${waiting} waited for it`;
    this.#fencing.inBackground(lease, async () => {
      // Again, too: a lease that its holder has renewed meanwhile is its holder's.
      await lease.inTurn(async () => {
        if (lease.state === 'suspect') await this.#takeNow(lease, reason);
      });
    });
  }

  /**
   * Ends a lease whose holder is known to be gone; does nothing where there is none. Where the
   * store fails it is tried again.
   */
  async proven(id: string, reason: string): Promise<void> {
    const { clock, held, log, steps } = this.#options;
    const lease = held.index.get(id);
    if (lease === undefined || this.#closed) return;
    steps.holderGone(lease);
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
      if (lease.quarantined?.isRevoked === true) this.#fencing.inBackground(lease);
    }
  }

  /** As {@link Fencing.close}. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#fencing.close();
  }

  /** @throws DaxdError ENOSPC, EIO when the store fails: the others stop then. */
  async #revokeOne(
    lease: Lease,
    change: RevokingChange,
    stop: RevocationStop,
  ): Promise<RevokedLease> {
    try {
      await this.#climb(lease, change, stop);
    } catch (error) {
      stop.now();
      throw error;
    }
    const detail = lease.ended ?? lease.quarantined?.reason;
    return { lease: lease.id, state: lease.state, ...(detail !== undefined && { detail }) };
  }

  /** Goes up the ladder until a lease is out of the way, or nobody can do more. */
  async #climb(lease: Lease, change: RevokingChange, stop: RevocationStop): Promise<void> {
    await this.#untilDue(lease, change, stop);
    if (stop.isNow || !this.#isInTheWay(lease, change)) return;
    await this.#takeRights(lease, `revoked by ${change.op} ${change.id}`);
    await this.#fenceUntil(lease, stop);
  }

  /** Gives all holders their time; then what is left has to fit into the quarantine. */
  async #untilKeepable(
    partition: string,
    leases: readonly Lease[],
    change: RevokingChange,
    stop: RevocationStop,
  ): Promise<void> {
    await Promise.all(leases.map((lease) => this.#untilDue(lease, change, stop)));
    if (stop.isNow) return;
    const { targets, holders } = this.#options;
    // The end of a holder is proof.
    const kept = leases.filter(
      ({ terms: { holder } }) => holder === undefined || holders.presence(holder) !== 'gone',
    );
    this.ended(change.id);
    this.#reserved.set(change.id, reserveRoomFor(targets, partition, kept, change));
  }

  /** Settles when a lease is out of the way, or the time of its holder is up. */
  async #untilDue(lease: Lease, change: RevokingChange, stop: RevocationStop): Promise<void> {
    while (!stop.isNow && this.#isInTheWay(lease, change)) {
      const restMs = this.#options.recallClock.restMs(lease, change);
      if (restMs <= 0) return;
      await this.#untilLess(lease, restMs, stop);
    }
  }

  #isInTheWay(lease: Lease, change: RevokingChange): boolean {
    return placesInTheWay(this.#options.targets, lease, change).length > 0;
  }

  /** Gives the holder of a lease its time; over once it has given pages back. */
  async #untilLess(lease: Lease, restMs: number, stop: RevocationStop): Promise<void> {
    const { clock, held } = this.#options;
    const { promise: over, resolve } = withResolvers();
    const cancelTimer = clock.setTimer(resolve, restMs);
    const unsubscribe = held.onLess(lease, resolve);
    await stop.race(over);
    cancelTimer();
    unsubscribe();
  }

  async #takeRights(lease: Lease, reason: string, check?: LeaseCheck): Promise<void> {
    await lease.inTurn(async () => {
      check?.(lease);
      await this.#takeNow(lease, reason);
    });
  }

  /** Whoever is gone already has ended; from all others the lease is taken, durably. In its turn. */
  async #takeNow(lease: Lease, reason: string): Promise<void> {
    const { steps, holders } = this.#options;
    const { holder } = lease.terms;
    if (holder !== undefined && holders.presence(holder) === 'gone') {
      await steps.end(lease, { state: 'released', reason: endOf(holder) });
    } else {
      await steps.revoke(lease, reason);
    }
  }

  /** Fences a holder; where the revocation stops, without anybody who waits. */
  async #fenceUntil(lease: Lease, stop: RevocationStop): Promise<void> {
    const fencing = this.#fencing.now(lease);
    await stop.race(fencing);
    if (stop.isNow) this.#fencing.leave(lease, fencing);
  }
}
