import type { FastifyReply } from 'fastify';

import { RECALL_GRACE_MS } from '../lease/limits.js';
import { systemClock } from '../lib/clock.js';
import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import { abortOnDisconnect } from './disconnect.js';
import { HeldError } from './problem.js';
import type { Operation } from './schemas/operation.js';

/** How a client wants to wait for pinned pages. */
export interface Patience {
  readonly on_conflict?: 'wait' | 'fail' | 'defer' | 'revoke';
  /** Milliseconds. */
  readonly deadline_ms?: number;
}

/** What ends a wait for pinned pages before they are idle. */
export interface WaitLimit {
  readonly signal: AbortSignal;
  /** When the signal gives up by itself, in milliseconds; 0: it does not wait. */
  readonly deadlineMs: number | undefined;
  /** Gives it up now. */
  readonly cancel: (reason: DaxdError) => void;
  /** To be called when there is no wait any more: stops the timer. */
  readonly done: () => void;
}

/**
 * A limit that ends a wait for pinned pages: when the connection ends before an answer is out,
 * when the deadline has passed, or at once where the client would not wait. A change whose
 * pages are idle does not see it: it is past its wait by then.
 *
 * @param holders ids of the leases that are in the way, when the wait is given up.
 * @throws DaxdError EINVAL for a deadline where nothing is waited for.
 */
export function limitWait(
  { on_conflict: onConflict = 'wait', deadline_ms: asked }: Patience,
  reply: FastifyReply,
  holders: () => readonly string[],
): WaitLimit {
  const gone = abortOnDisconnect(reply);
  if (onConflict === 'fail' && asked !== undefined) {
    throw new DaxdError('EINVAL', 'on_conflict "fail" does not wait: leave deadline_ms out');
  }
  const over = new AbortController();
  const signal = AbortSignal.any([gone, over.signal]);
  const cancel = (reason: DaxdError): void => {
    over.abort(reason);
  };
  // What is revoked is its holders' deadline, and no end of the wait.
  if (onConflict === 'revoke') {
    return { signal, deadlineMs: asked ?? RECALL_GRACE_MS, cancel, done: () => {} };
  }
  const deadlineMs = onConflict === 'fail' ? 0 : asked;
  if (deadlineMs === undefined) return { signal, deadlineMs, cancel, done: () => {} };

  const done = systemClock.setTimer(() => {
    cancel(onConflict === 'fail' ? pagesPinned(holders()) : deadlinePassed(deadlineMs, holders()));
  }, deadlineMs);
  return { signal, deadlineMs, cancel, done };
}

/** What is there of the patience of a client that is gone. */
export interface RestOfPatience {
  /** As it was asked for, in milliseconds. */
  readonly deadlineMs: number | undefined;
  /** What is left of it; undefined where it ends no wait. */
  readonly restMs: number | undefined;
}

/** The limit of a change that waited already in an earlier daemon: as {@link limitWait} for the rest. */
export function limitRest(
  { deadlineMs, restMs }: RestOfPatience,
  clock: Clock,
  holders: () => readonly string[],
): WaitLimit {
  const over = new AbortController();
  const { signal } = over;
  const cancel = (reason: DaxdError): void => {
    over.abort(reason);
  };
  if (deadlineMs === undefined || restMs === undefined) {
    return { signal, deadlineMs, cancel, done: () => {} };
  }
  const fire = (): void => {
    cancel(deadlinePassed(deadlineMs, holders()));
  };
  return { signal, deadlineMs, cancel, done: clock.setTimer(fire, Math.max(0, restMs)) };
}

/** The leases that changes of a file wait for. */
export function holdersIn(
  operations: readonly Operation[],
  partition: string,
  inode: number,
): string[] {
  return operations
    .filter((one) => one.partition === partition && one.inode === inode)
    .flatMap((one) => one.blocked_by);
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
