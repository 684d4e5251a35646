import { RECALL_GRACE_MS } from '../lease/limits.js';
import type { CancelTimer, Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import { HeldError } from './problem.js';

/** How a client wants to wait for pinned pages. */
export interface Patience {
  readonly on_conflict?: 'wait' | 'fail' | 'defer' | 'revoke';
  /** Milliseconds. */
  readonly deadline_ms?: number;
}

/** What is there of the patience of a client that is gone. */
export interface RestOfPatience {
  /** As it was asked for, in milliseconds. */
  readonly deadlineMs: number | undefined;
  /** What is left of it, in milliseconds, or less than 0; undefined where it ends no wait. */
  readonly restMs: number | undefined;
}

/** What a {@link WaitLimit} works with. */
export interface WaitLimitPorts {
  readonly clock: Clock;
  /** Ids of the leases in the way of a change that waits, asked for when its wait is given up. */
  readonly holders: (changeId: string) => readonly string[];
}

/**
 * What ends a wait for pinned pages before they are idle. A change whose pages are idle does not
 * see it: it is past its wait by then.
 */
export class WaitLimit {
  /** Aborts when the wait is over. */
  readonly signal: AbortSignal;
  /** When the signal gives up by itself, in milliseconds; 0: it does not wait. */
  readonly deadlineMs: number | undefined;
  readonly #ports: WaitLimitPorts;
  readonly #over = new AbortController();
  #cancelTimer: CancelTimer = () => {};
  /** The id of what waits. */
  #waiting: string | undefined;

  private constructor(deadlineMs: number | undefined, ports: WaitLimitPorts, gone?: AbortSignal) {
    const { signal } = this.#over;
    this.signal = gone === undefined ? signal : AbortSignal.any([gone, signal]);
    this.deadlineMs = deadlineMs;
    this.#ports = ports;
  }

  /**
   * The limit of a client that waits: the end of its connection before the answer is out, its
   * deadline, or at once where it would not wait.
   *
   * @param gone aborts when its connection ends.
   * @throws DaxdError EINVAL for a deadline where nothing is waited for.
   */
  static of(
    { on_conflict: onConflict = 'wait', deadline_ms: askedMs }: Patience,
    gone: AbortSignal,
    ports: WaitLimitPorts,
  ): WaitLimit {
    if (onConflict === 'fail') {
      if (askedMs !== undefined) {
        throw new DaxdError('EINVAL', 'on_conflict "fail" does not wait: leave deadline_ms out');
      }
      const limit = new WaitLimit(0, ports, gone);
      limit.#abortAfter(0, pagesPinned);
      return limit;
    }
    // What is revoked is its holders' deadline, and no end of the wait.
    if (onConflict === 'revoke') return new WaitLimit(askedMs ?? RECALL_GRACE_MS, ports, gone);
    const limit = new WaitLimit(askedMs, ports, gone);
    limit.#giveUpAfter(askedMs);
    return limit;
  }

  /** The limit of a change that waited already in an earlier daemon. */
  static rest(
    changeId: string,
    { deadlineMs, restMs }: RestOfPatience,
    ports: WaitLimitPorts,
  ): WaitLimit {
    const limit = new WaitLimit(deadlineMs, ports);
    limit.waits(changeId);
    limit.#giveUpAfter(restMs);
    return limit;
  }

  /** Tells which change it is that waits. */
  waits(changeId: string): void {
    this.#waiting = changeId;
  }

  /** Gives the wait up now. */
  readonly cancel = (reason: DaxdError): void => {
    this.#over.abort(reason);
  };

  /** To be called when there is no wait any more: stops the timer. */
  readonly done = (): void => {
    this.#cancelTimer();
  };

  #giveUpAfter(restMs: number | undefined): void {
    const { deadlineMs } = this;
    if (restMs === undefined || deadlineMs === undefined) return;
    this.#abortAfter(Math.max(0, restMs), (holders) => deadlinePassed(deadlineMs, holders));
  }

  #abortAfter(delayMs: number, reason: (holders: readonly string[]) => DaxdError): void {
    const { clock, holders } = this.#ports;
    this.#cancelTimer = clock.setTimer(() => {
      this.cancel(reason(this.#waiting === undefined ? [] : holders(this.#waiting)));
    }, delayMs);
  }
}

function pagesPinned(holders: readonly string[]): HeldError {
  const detail = `pages are pinned by ${named(holders)}: the file is unchanged; ask their holders to release, or wait`;
  return new HeldError('pages-pinned', detail, holders);
}

function deadlinePassed(waitMs: number, holders: readonly string[]): HeldError {
  const detail = `pages are pinned by ${named(holders)} after ${waitMs} ms: the file is unchanged; ask their holders to release, then try again`;
  return new HeldError('deadline', detail, holders);
}

function named(holders: readonly string[]): string {
  if (holders.length === 0) return 'an earlier change';
  return holders.length === 1 ? `lease ${holders[0]}` : `${holders.length} leases`;
}
