import type { CancelTimer, Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import { commitInParts } from './commit-in-parts.js';
import type { LeaseStore } from './lease-store.js';
import { hasEnded } from './lease-state.js';
import type { Lease } from './lease.js';
import { CHECKPOINT_BATCH, CHECKPOINT_MS } from './limits.js';

/** What a {@link Checkpoint} stands on. */
export interface CheckpointOptions {
  readonly store: LeaseStore;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Notes the deadlines of renewed leases in the store, CHECKPOINT_MS after the first renewal
 * that is not noted. A renewal itself commits nothing: of a lease that was renewed before in this
 * run a crash loses no more than that time, which a restart adds to what was left of its ttl.
 */
export class Checkpoint {
  readonly #options: CheckpointOptions;
  /** Those whose deadline the store does not know yet. */
  readonly #renewed = new Set<Lease>();
  #cancelTimer: CancelTimer | undefined;
  /** The notes under way. */
  #writing: Promise<void> = Promise.resolve();

  constructor(options: CheckpointOptions) {
    this.#options = options;
  }

  add(lease: Lease): void {
    this.#renewed.add(lease);
    this.#cancelTimer ??= this.#options.clock.setTimer(() => {
      this.#cancelTimer = undefined;
      void this.write();
    }, CHECKPOINT_MS);
  }

  /** Forgets a lease that has no deadline any more. */
  delete(lease: Lease): void {
    this.#renewed.delete(lease);
    if (this.#renewed.size > 0) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  /** Notes all of them; settles when that is done, or logged to be done the next time. */
  async write(): Promise<void> {
    const renewed = [...this.#renewed];
    this.#renewed.clear();
    const before = this.#writing;
    this.#writing = this.#noteAll(before, renewed);
    await this.#writing;
  }

  async #noteAll(before: Promise<void>, leases: readonly Lease[]): Promise<void> {
    await before;
    for (let from = 0; from < leases.length; from += CHECKPOINT_BATCH) {
      await this.#note(leases.slice(from, from + CHECKPOINT_BATCH));
    }
  }

  async #note(leases: readonly Lease[]): Promise<void> {
    const { store, log } = this.#options;
    const held = leases.filter(({ state }) => !hasEnded(state));
    // The store must not hear of a deadline after it heard of the end.
    const quiet = held.filter(({ isBusy }) => !isBusy);
    for (const lease of held) if (lease.isBusy) this.add(lease);
    try {
      await commitInParts(
        store,
        quiet.map(({ id, deadlineMs }) => ({ kind: 'deadline', id, deadlineMs })),
      );
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      log.warn({ code: error.code }, `deadlines are not noted: ${error.message}`);
      for (const lease of quiet) if (!hasEnded(lease.state)) this.add(lease);
    }
  }
}
