import type { PendingChange } from '../dax/layout-change.js';
import type { LayoutChanged } from '../http/schemas/file.js';
import type { Operation } from '../http/schemas/operation.js';
import { timestampFromMs } from '../http/timestamp.js';
import type { Acknowledgement } from '../lease/recall-clock.js';
import type { Recall } from '../lease/recalls.js';
import type { OperationOutcome } from '../lease/kept-operation.js';
import type { LeaseStore } from '../lease/lease-store.js';
import type { CancelTimer, Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { EventSink } from '../lib/event-ring.js';
import type { Logger } from '../lib/logger.js';
import { endedOperation, shownBytes } from './ended-operation.js';
import type { ChangeWatcher } from './mounts.js';
import { failedWith, outcomeWord, shownOutcome } from './operation-outcome.js';

/** A wait that lasts longer than this, in milliseconds, is logged with its id. */
const LONG_WAIT_MS = 1_000;

/** What the operations need to know of the rest. */
export interface OperationsOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Ended waits that are remembered; the oldest is forgotten first. */
  readonly finishedMax: number;
  /** Operations that ended longer ago than those, or in an earlier daemon. */
  readonly store: Pick<LeaseStore, 'outcomeOf'>;
  /** Ids of the leases that pin a page of these bytes of a file. */
  readonly blockedBy: (partition: string, inode: number, from: number, to: number) => string[];
  /** What those leases are asked for. */
  readonly recalls: (change: PendingChange, leases: readonly string[]) => readonly Recall[];
  /** The holders among them that said how long they take. */
  readonly acknowledgements: (change: string) => readonly Acknowledgement[];
  /** Told of each change that waits, and of each whose barrier is down. */
  readonly onBlocked: (partition: string, change: PendingChange) => void;
  readonly onUnblocked: (change: PendingChange) => void;
  /** Told of each wait that begins and ends, and of each recall. */
  readonly events: EventSink;
  /** Told of what is neither the client's fault nor foreseen. */
  readonly onFatal: (error: Error) => void;
}

interface Tracked {
  readonly partition: string;
  /** One that was taken up after a restart has another one once its partition is mounted. */
  change: PendingChange;
  cancelTimer: CancelTimer;
  /** Whether its wait was told of, and its end not yet. */
  isAnnounced: boolean;
  /** There once the operation has outlived its call. */
  kept?: Kept;
  /** Called when the operation has ended. */
  readonly onEnd: Set<() => void>;
}

/** An operation without a call that would answer for it. */
interface Kept {
  readonly cancel: (reason: DaxdError) => void;
  /** How it ended, once it has. */
  outcome?: OperationOutcome;
}

/**
 * The changes that wait for pinned pages, by id, and those that waited lately.
 *
 * One ends when its barrier is down, and its call answers; one that is kept beyond its call
 * when its work has ended, and it answers for itself.
 */
export class Operations implements ChangeWatcher {
  readonly #options: OperationsOptions;
  /** Those whose barrier is up, waiting or being committed, and kept ones whose work goes on. */
  readonly #pending = new Map<string, Tracked>();
  readonly #finished = new Map<string, Tracked>();
  /** Work of kept ones. */
  readonly #works = new Set<Promise<void>>();

  constructor(options: OperationsOptions) {
    this.#options = options;
  }

  /** Changes that wait now. */
  *pending(): Generator<PendingChange> {
    for (const { change } of this.#pending.values()) if (isWaiting(change)) yield change;
  }

  /**
   * Takes note of a change as its barrier goes up. One that was kept, and waited for its
   * partition, goes on under its id.
   */
  track(partition: string, change: PendingChange): void {
    const cancelTimer = this.#options.clock.setTimer(() => {
      this.#logWait(partition, change);
    }, LONG_WAIT_MS);
    const known = this.#pending.get(change.id);
    if (known !== undefined) {
      known.cancelTimer();
      known.change = change;
      known.cancelTimer = cancelTimer;
      return;
    }
    const onEnd = new Set<() => void>();
    this.#pending.set(change.id, { partition, change, cancelTimer, isAnnounced: false, onEnd });
  }

  /**
   * Takes note that a change has to wait: the holders of its pages are asked to release them.
   * One that gives up at once asks nobody.
   */
  waits(change: PendingChange): void {
    const tracked = this.#pending.get(change.id);
    if (tracked === undefined || change.deadlineMs === 0) return;
    tracked.isAnnounced = true;
    const { events, recalls } = this.#options;
    const operation = this.#show(tracked);
    events.push('operation.started', operation);
    for (const recall of recalls(change, operation.blocked_by))
      events.push('recall', { ...recall });
    this.#options.onBlocked(tracked.partition, change);
  }

  /** Takes note that a change's barrier is down; does nothing when it is not tracked. */
  ended({ id }: PendingChange): void {
    const tracked = this.#pending.get(id);
    if (tracked === undefined) return;
    tracked.cancelTimer();
    this.#options.onUnblocked(tracked.change);
    this.#logEnd(tracked.change);
    if (isEnded(tracked)) this.#finish(tracked);
  }

  /**
   * Has an operation live on until `work` ends, and show how it did.
   *
   * @param cancel gives `work` up.
   * @throws DaxdError ENOENT when it neither waits nor waited lately.
   */
  keep(id: string, work: Promise<LayoutChanged>, cancel: (reason: DaxdError) => void): Operation {
    const tracked = this.#known(id);
    if (tracked === undefined) throw noOperation(id);
    const kept: Kept = { cancel };
    tracked.kept = kept;
    this.#finished.delete(id);
    this.#pending.set(id, tracked);
    const settled = this.#untilSettled(kept, work).finally(() => {
      this.#works.delete(settled);
      this.#finish(tracked);
    });
    this.#works.add(settled);
    return this.#show(tracked);
  }

  /** Settles when the work of every kept operation has ended. */
  async whenNoneKept(): Promise<void> {
    await Promise.all(this.#works);
  }

  /** What waits, in the order in which it came, from the first after `cursor`. */
  *after(cursor: string): Generator<Operation> {
    const waiting = [...this.#pending.values()]
      .filter(({ change }) => isWaiting(change) && change.id > cursor)
      .toSorted((a, b) => (a.change.id < b.change.id ? -1 : 1));
    for (const tracked of waiting) yield this.#show(tracked);
  }

  /** Ids of the leases that a change waits for, as far as they are named; none once it is over. */
  holdersOf(id: string): readonly string[] {
    const tracked = this.#pending.get(id);
    return tracked === undefined ? [] : this.#blockedBy(tracked);
  }

  /**
   * One operation, when it has ended, at the latest after `waitMs` or when `signal` aborts.
   *
   * @throws DaxdError ENOENT when it neither waits nor waited lately; EBADMSG where the store is
   *   damaged there.
   */
  async get(id: string, waitMs: number, signal: AbortSignal): Promise<Operation> {
    const tracked = this.#known(id);
    if (tracked === undefined) return this.#earlier(id);
    if (waitMs > 0) await this.#endOrAfter(tracked, waitMs, signal);
    return this.#show(tracked);
  }

  /**
   * Ends a wait; does nothing once it is over. Shows the operation when it has ended, or when
   * `signal` aborts.
   *
   * @throws DaxdError ENOENT; EBADMSG.
   */
  async cancel(id: string, signal: AbortSignal): Promise<Operation> {
    const tracked = this.#known(id);
    if (tracked === undefined) return this.#earlier(id);
    const { change, kept } = tracked;
    change.cancel();
    // Its work may have begun another wait by now.
    kept?.cancel(new DaxdError('cancelled', `${change.op} ${id} was cancelled while it waited`));
    await this.#endOrAfter(tracked, undefined, signal);
    return this.#show(tracked);
  }

  /** It ends now: whoever asked for its end is told. */
  #finish(tracked: Tracked): void {
    const { id } = tracked.change;
    this.#pending.delete(id);
    this.#remember(id, tracked);
    this.#announceEnd(tracked);
    for (const tell of tracked.onEnd) tell();
  }

  #remember(id: string, tracked: Tracked): void {
    this.#finished.set(id, tracked);
    if (this.#finished.size <= this.#options.finishedMax) return;
    for (const oldest of this.#finished.keys()) {
      this.#finished.delete(oldest);
      return;
    }
  }

  #known(id: string): Tracked | undefined {
    return this.#pending.get(id) ?? this.#finished.get(id);
  }

  #earlier(id: string): Operation {
    const ended = this.#options.store.outcomeOf(id);
    if (ended !== undefined) return endedOperation(ended);
    throw noOperation(id);
  }

  async #untilSettled(kept: Kept, work: Promise<LayoutChanged>): Promise<void> {
    try {
      kept.outcome = { result: await work };
    } catch (error) {
      kept.outcome = failedWith(error);
      if (error instanceof DaxdError) return;
      this.#options.onFatal(error instanceof Error ? error : new TypeError(String(error)));
    }
  }

  async #endOrAfter(
    tracked: Tracked,
    delayMs: number | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    if (isEnded(tracked) || signal.aborted) return;
    const { onEnd } = tracked;
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        cancelTimer();
        onEnd.delete(finish);
        signal.removeEventListener('abort', finish);
        resolve();
      };
      const cancelTimer =
        delayMs === undefined ? () => {} : this.#options.clock.setTimer(finish, delayMs);
      onEnd.add(finish);
      signal.addEventListener('abort', finish);
    });
  }

  #show(tracked: Tracked): Operation {
    const { partition, change, kept } = tracked;
    const { id, op, inode, path, from, to, deadlineMs } = change;
    const ended = isEnded(tracked);
    return {
      id,
      op,
      done: ended,
      state: ended ? 'ended' : 'waiting',
      partition,
      inode,
      ...(path !== undefined && { path }),
      ...shownBytes(from, to),
      started: timestampFromMs(change.startedWallMs),
      waited_ms: change.waitedMs(),
      blocked_by: this.#blockedBy(tracked),
      acknowledged: [...this.#options.acknowledgements(id)],
      ...(deadlineMs !== undefined && { deadline_ms: deadlineMs }),
      ...(ended && { outcome: outcomeOf(tracked) }),
      ...(kept?.outcome !== undefined && shownOutcome(id, kept.outcome)),
    };
  }

  #blockedBy({ partition, change }: Tracked): string[] {
    const { inode, from, to } = change;
    const isBlocked = isWaiting(change) && !change.defers;
    return isBlocked ? this.#options.blockedBy(partition, inode, from, to) : [];
  }

  #announceEnd(tracked: Tracked): void {
    if (!tracked.isAnnounced) return;
    tracked.isAnnounced = false;
    this.#options.events.push('operation.ended', this.#show(tracked));
  }

  #logEnd(change: PendingChange): void {
    const { id, op, path, inode, wasBroken, defers } = change;
    const waitedMs = change.waitedMs();
    if (waitedMs < LONG_WAIT_MS) return;
    const ended = defers ? 'deferred' : 'pages idle';
    this.#options.log.info(
      { operation: id, op, path, inode, waitedMs, outcome: wasBroken ? ended : 'given up' },
      'wait for pinned pages ended',
    );
  }

  #logWait(partition: string, change: PendingChange): void {
    if (!isWaiting(change)) return;
    const { id, op, inode, path, from, to } = change;
    const blockedBy = this.#options.blockedBy(partition, inode, from, to);
    this.#options.log.warn(
      { operation: id, op, partition, path, inode, blockedBy },
      'waits for pinned pages for over a second',
    );
  }
}

function noOperation(id: string): DaxdError {
  return new DaxdError('ENOENT', `no operation ${id} waits: see GET /v1/operations`);
}

function isWaiting({ state }: PendingChange): boolean {
  return state === 'queued' || state === 'breaking';
}

function isEnded({ change, kept }: Tracked): boolean {
  return kept === undefined ? change.state === 'ended' : kept.outcome !== undefined;
}

function outcomeOf({ change: { wasBroken, givenUp }, kept }: Tracked): string {
  if (kept?.outcome !== undefined) return outcomeWord(kept.outcome);
  return wasBroken ? 'done' : (givenUp ?? 'failed');
}
