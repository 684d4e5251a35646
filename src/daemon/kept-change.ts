import type { PendingChange } from '../dax/layout-change.js';
import type { KeptChange } from '../http/control.js';
import type { LayoutChanged } from '../http/schemas/file.js';
import type { Operation } from '../http/schemas/operation.js';
import type { KeptOperation, OperationOutcome } from '../lease/kept-operation.js';
import type { LeaseStore } from '../lease/lease-store.js';
import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import { failedWith } from './operation-outcome.js';
import type { Operations } from './operations.js';

/** What a {@link DurableChange} works with. */
export interface KeptChangePorts {
  readonly store: Pick<LeaseStore, 'commit'>;
  readonly operations: Pick<Operations, 'keep'>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What is to be kept of a change, beside what its wait brings. */
export type ChangeToKeep = Omit<KeptOperation, 'id' | 'startedMs' | 'startedWallMs' | 'begun'>;

/**
 * A change, and what the store keeps of it so that the next daemon can go on with it:
 *
 *     unkept --keep--> kept --onBegin--> begun --until--> gone
 *
 * A change is run once at most. What begins is noted as begun before the file changes; where a
 * crash comes between that note and its removal, nobody can tell whether the file changed, and
 * whether somebody stored to it since. Then it is not run again, and its outcome says so: a
 * collapse done twice destroys data, and a truncate done twice does where the file grew between.
 */
export class DurableChange implements KeptChange {
  readonly #ports: KeptChangePorts;
  readonly #toKeep: ChangeToKeep;
  /** What the store has, or is being given; undefined while it is nothing. */
  #kept: KeptOperation | undefined;
  /** Settles when the store has it. */
  #storing: Promise<void> | undefined;
  #hasBegun = false;

  /** @param toKeep what is to be kept; all of it where an earlier daemon kept it. */
  constructor(ports: KeptChangePorts, toKeep: ChangeToKeep | KeptOperation) {
    this.#ports = ports;
    this.#toKeep = toKeep;
    if ('id' in toKeep) this.#kept = toKeep;
  }

  readonly onBegin = async (): Promise<void> => {
    this.#hasBegun = true;
    if (this.#kept === undefined) return;
    await this.#storing;
    await this.#store({ ...this.#kept, begun: true });
  };

  async keep(
    change: PendingChange,
    work: Promise<LayoutChanged>,
    cancel: (reason: DaxdError) => void,
  ): Promise<Operation | undefined> {
    if (this.#hasBegun) return undefined;
    const { operations, clock } = this.#ports;
    const { id, startedWallMs } = change;
    const operation = operations.keep(id, work, cancel);
    const startedMs = clock.nowMs() - change.waitedMs();
    this.#kept = { ...this.#toKeep, id, startedMs, startedWallMs, begun: false };
    this.#storing = this.#store(this.#kept);
    try {
      await this.#storing;
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      cancel(error);
      return undefined;
    }
    return operation;
  }

  async until(work: Promise<LayoutChanged>): Promise<LayoutChanged> {
    let changed: LayoutChanged;
    try {
      changed = await work;
    } catch (error) {
      await this.#forgetFailed(error);
      throw error;
    }
    try {
      await this.#forget({ result: changed });
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      // The next daemon finds that it had begun, and does not run it again.
      this.#ports.log.error({ operation: this.#kept?.id, code: error.code }, error.message);
    }
    return changed;
  }

  async #store(operation: KeptOperation): Promise<void> {
    await this.#ports.store.commit([{ kind: 'operation', operation }]);
  }

  /** What a drain gave up goes on with the next daemon. */
  async #forgetFailed(reason: unknown): Promise<void> {
    if (reason instanceof DaxdError && reason.code === 'draining') {
      await Promise.allSettled([this.#storing]);
      return;
    }
    try {
      await this.#forget(failedWith(reason));
    } catch (cause) {
      if (!(cause instanceof DaxdError)) throw cause;
      throw new DaxdError(
        cause.code,
        `given up, and perhaps queued again after a restart, for the store did not forget it: ${cause.message}`,
        { cause: reason },
      );
    }
  }

  /** Also where the store failed to take it: what failed may be there all the same. */
  async #forget(outcome: OperationOutcome): Promise<void> {
    if (this.#kept === undefined) return;
    await Promise.allSettled([this.#storing]);
    const { store, clock } = this.#ports;
    const { begun: _, ...kept } = this.#kept;
    const waitedMs =
      'result' in outcome ? outcome.result.waited_ms : clock.nowMs() - kept.startedMs;
    await store.commit([
      { kind: 'operation-ended', id: kept.id },
      { kind: 'outcome', operation: { ...kept, outcome, waitedMs, endedMs: clock.wallMs() } },
    ]);
  }
}
