import type { PendingChange } from '../dax/layout-change.js';
import type { Operation } from '../http/schemas/operation.js';
import { timestampFromMs } from '../http/timestamp.js';
import type { CancelTimer, Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';

/** A wait that lasts longer than this, in milliseconds, is logged with its id. */
const LONG_WAIT_MS = 1_000;

/** What the operations need to know of the rest. */
export interface OperationsOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Ended waits that are remembered; the oldest is forgotten first. */
  readonly finishedMax: number;
  /** Ids of the leases that pin a page of these bytes of a file. */
  readonly blockedBy: (partition: string, inode: number, from: number, to: number) => string[];
}

interface Tracked {
  readonly partition: string;
  readonly change: PendingChange;
  readonly cancelTimer: CancelTimer;
  /** Called when the change has ended. */
  readonly onEnd: Set<() => void>;
}

/** The changes that wait for pinned pages, by id, and those that waited lately. */
export class Operations {
  readonly #options: OperationsOptions;
  /** Those whose barrier is up: they wait, or are being committed. */
  readonly #pending = new Map<string, Tracked>();
  readonly #finished = new Map<string, Tracked>();

  constructor(options: OperationsOptions) {
    this.#options = options;
  }

  /** Changes that wait now. */
  *pending(): Generator<PendingChange> {
    for (const { change } of this.#pending.values()) if (isWaiting(change)) yield change;
  }

  /** Takes note of a change as its barrier goes up. */
  track(partition: string, change: PendingChange): void {
    const cancelTimer = this.#options.clock.setTimer(() => {
      this.#logWait(partition, change);
    }, LONG_WAIT_MS);
    this.#pending.set(change.id, { partition, change, cancelTimer, onEnd: new Set() });
  }

  /** Takes note that a change's barrier is down; does nothing when it is not tracked. */
  ended({ id }: PendingChange): void {
    const tracked = this.#pending.get(id);
    if (tracked === undefined) return;
    tracked.cancelTimer();
    this.#pending.delete(id);
    this.#remember(id, tracked);
    this.#logEnd(tracked.change);
    for (const tell of tracked.onEnd) tell();
  }

  /** What waits now, in the order in which it came. */
  list(): Operation[] {
    return [...this.#pending.values()]
      .filter(({ change }) => isWaiting(change))
      .map((tracked) => this.#show(tracked));
  }

  /**
   * One operation, when it has ended, at the latest after `waitMs` or when `signal` aborts.
   *
   * @throws DaxdError ENOENT when it neither waits nor waited lately.
   */
  async get(id: string, waitMs: number, signal: AbortSignal): Promise<Operation> {
    const tracked = this.#find(id);
    const isDone = tracked.change.state === 'ended' || signal.aborted;
    if (!isDone && waitMs > 0) await this.#endOrAfter(tracked, waitMs, signal);
    return this.#show(tracked);
  }

  /** Ends a wait; does nothing once it is over. @throws DaxdError ENOENT. */
  cancel(id: string): Operation {
    const tracked = this.#find(id);
    tracked.change.cancel();
    return this.#show(tracked);
  }

  #remember(id: string, tracked: Tracked): void {
    this.#finished.set(id, tracked);
    if (this.#finished.size <= this.#options.finishedMax) return;
    for (const oldest of this.#finished.keys()) {
      this.#finished.delete(oldest);
      return;
    }
  }

  #find(id: string): Tracked {
    const tracked = this.#pending.get(id) ?? this.#finished.get(id);
    if (tracked !== undefined) return tracked;
    throw new DaxdError('ENOENT', `no operation ${id} waits: see GET /v1/operations`);
  }

  async #endOrAfter({ onEnd }: Tracked, delayMs: number, signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        cancelTimer();
        onEnd.delete(finish);
        signal.removeEventListener('abort', finish);
        resolve();
      };
      const cancelTimer = this.#options.clock.setTimer(finish, delayMs);
      onEnd.add(finish);
      signal.addEventListener('abort', finish);
    });
  }

  #show({ partition, change }: Tracked): Operation {
    const { id, op, inode, path, from, to, state } = change;
    const ended = state === 'ended';
    const blockedBy = isWaiting(change) ? this.#options.blockedBy(partition, inode, from, to) : [];
    return {
      id,
      op,
      done: ended,
      state: ended ? 'ended' : 'waiting',
      partition,
      inode,
      ...(path !== undefined && { path }),
      offset: from,
      end: Number.isSafeInteger(to) ? to : null,
      started: timestampFromMs(change.startedWallMs),
      waited_ms: change.waitedMs(),
      blocked_by: blockedBy,
    };
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

function isWaiting({ state }: PendingChange): boolean {
  return state === 'queued' || state === 'breaking';
}
