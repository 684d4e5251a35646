import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { LatencyHistogram } from '../lib/latency-histogram.js';
import type { SortableIds } from '../lib/sortable-id.js';
import { BrokenLayout, deviceGone, type BreakOptions, type LayoutPages } from './broken-layout.js';
import {
  LayoutChange,
  type LayoutChangeRequest,
  type LayoutOp,
  type PendingChange,
} from './layout-change.js';

/** How a layout change's wait ended. */
export type LayoutOutcome = 'done' | GivenUp | 'failed';

/** Codes of waits that were given up, each an outcome of its own. */
const GIVEN_UP = ['cancelled', 'deadline', 'draining', 'pages-pinned'] as const;
type GivenUp = (typeof GIVEN_UP)[number];

/** What {@link Layouts} is made from. */
export interface LayoutsOptions {
  /** Undefined on a filesystem without direct access: no wait there is ever for a page. */
  readonly device: LayoutPages | undefined;
  readonly clock: Clock;
  readonly ids: SortableIds;
  /** Takes the time from the put that made the last awaited page idle to the waiter running. */
  readonly pageFreeLatency: LatencyHistogram;
  /** Takes each wait once, when it ended; 0 seconds included. */
  readonly truncateWait: (op: LayoutOp, outcome: LayoutOutcome, seconds: number) => void;
}

/** Beyond this many pending changes of one filesystem a new one is refused. */
export const PENDING_CHANGES_MAX = 4096;

/**
 * All pending layout changes of one filesystem. While one is pending its barrier is up: no
 * new pin may start over its bytes, which is stricter than the kernel and keeps a truncate
 * from waiting for ever. Changes of overlapping bytes of one inode go first come, first
 * served; others pass.
 *
 * The order of one change: barrier up, recall, its turn, wait until nothing is pinned;
 * then the caller commits, frees and lifts. One that defers leaves out the wait for pages.
 */
export class Layouts {
  readonly #options: LayoutsOptions;
  readonly #break: BreakOptions;
  /** By inode, each in the order in which they came. */
  readonly #changes = new Map<number, Set<LayoutChange>>();
  #size = 0;
  #draining = false;
  #recall: (change: PendingChange) => void = () => {};
  #onWait: (change: PendingChange) => void = () => {};
  #onEnd: (change: PendingChange) => void = () => {};

  constructor(options: LayoutsOptions) {
    const { device, clock, pageFreeLatency } = options;
    this.#options = options;
    this.#break = {
      device,
      clock,
      pageFreeLatency,
      onWait: (change) => {
        this.#onWait(change);
        change.onWait?.(change);
      },
      lift: (change) => {
        this.#end(change);
      },
    };
  }

  /** Changes whose barrier is up, those that only commit included. */
  get pending(): Iterable<PendingChange> {
    return this.#all();
  }

  /** How many {@link pending} holds. */
  get size(): number {
    return this.#size;
  }

  /** The earliest pending change over bytes `[from, to)` of the inode. Ask before each pin. */
  pendingOver(inode: number, from: number, to: number): PendingChange | undefined {
    for (const change of this.#changes.get(inode) ?? []) {
      if (change.overlaps(from, to)) return change;
    }
    return undefined;
  }

  /** The pending changes over bytes `[from, to)` of the inode that wait for its pages. */
  *waitingOver(inode: number, from: number, to: number): Generator<PendingChange> {
    for (const change of this.#changes.get(inode) ?? []) {
      const waits = change.state === 'queued' || change.state === 'breaking';
      if (waits && change.overlaps(from, to)) yield change;
    }
  }

  /** Has `port` told of each change as its barrier goes up, so that holders can be asked to release. */
  onRecall(port: (change: PendingChange) => void): void {
    this.#recall = port;
  }

  /** Has `port` told of each change once, when it finds that it has to wait. */
  onWait(port: (change: PendingChange) => void): void {
    this.#onWait = port;
  }

  /** Has `port` told of each change as its barrier comes down, also of those that recalled nobody. */
  onEnd(port: (change: PendingChange) => void): void {
    this.#onEnd = port;
  }

  /**
   * Puts the barrier up, before it returns, and waits until no page of the change is pinned.
   * Hold no transaction across it. The caller lifts what it gets, in every case.
   *
   * @throws DaxdError `cancelled` on an abort without a reason of its own or a cancel, `draining` at shutdown, ENXIO when
   *   the device detaches, EBUSY when too many changes are pending, and what `pages` throws.
   *   The barrier is down again and nothing of the file has changed.
   * @kernel ext4_break_layouts (fs/ext4/inode.c)
   */
  async breakLayouts(request: LayoutChangeRequest): Promise<BrokenLayout> {
    const { ids, clock, truncateWait } = this.#options;
    const change = new LayoutChange(ids.next(), request, clock);
    try {
      this.#raise(change);
      this.#recall(change);
      const layout = await BrokenLayout.breakDaxLayouts(change, this.#break);
      truncateWait(change.op, 'done', layout.waitedMs / 1000);
      return layout;
    } catch (error) {
      truncateWait(change.op, outcomeOf(error), change.waitedMs() / 1000);
      this.#end(change);
      throw error;
    }
  }

  /**
   * Puts the barrier up where nothing has to be waited for: no page of the change is pinned,
   * and no earlier change of its bytes is pending. Undefined otherwise, and no barrier is up
   * then. Also at shutdown, where only a wait is refused. The caller lifts what it gets.
   *
   * @throws DaxdError what `pages` throws
   */
  tryBreakLayouts(request: LayoutChangeRequest): BrokenLayout | undefined {
    const { ids, clock, truncateWait } = this.#options;
    const change = new LayoutChange(ids.next(), request, clock);
    this.#add(change);
    let layout: BrokenLayout | undefined;
    try {
      layout = BrokenLayout.tryBreakDaxLayouts(change, this.#break);
    } finally {
      if (layout === undefined) this.#end(change);
    }
    if (layout !== undefined) truncateWait(change.op, 'done', 0);
    return layout;
  }

  /** Rejects every wait, now and later, with `draining`. What waited already long enough commits. */
  drain(): void {
    this.#draining = true;
    for (const change of this.#all()) change.abort(draining(change));
  }

  *#all(): Generator<LayoutChange> {
    for (const changes of this.#changes.values()) yield* changes;
  }

  #raise(change: LayoutChange): void {
    if (this.#draining) throw draining(change);
    if (this.#size >= PENDING_CHANGES_MAX) {
      throw new DaxdError(
        'EBUSY',
        `${change.op} of inode ${change.inode}: ${this.#size} changes wait already, try again later`,
      );
    }
    const removal = this.#options.device?.pgmap.removal;
    if (removal !== undefined) change.follow(removal, () => deviceGone(change));
    this.#add(change);
  }

  #add(change: LayoutChange): void {
    const changes = this.#changes.get(change.inode) ?? new Set();
    for (const earlier of changes) {
      if (earlier.overlaps(change.from, change.to)) change.addEarlier();
    }
    this.#changes.set(change.inode, changes.add(change));
    this.#size++;
  }

  /** Takes the barrier down, if it was up, and counts the change off for those behind it. */
  #end(change: LayoutChange): void {
    change.ended();
    const changes = this.#changes.get(change.inode);
    if (changes?.has(change) !== true) return;
    let behind = false;
    for (const other of changes) {
      if (behind && other.overlaps(change.from, change.to)) other.earlierEnded();
      behind ||= other === change;
    }
    changes.delete(change);
    if (changes.size === 0) this.#changes.delete(change.inode);
    this.#size--;
    this.#onEnd(change);
  }
}

function draining({ op, inode }: LayoutChange): DaxdError {
  return new DaxdError(
    'draining',
    `${op} of inode ${inode} is refused: the daemon is shutting down; the file is unchanged`,
  );
}

function outcomeOf(error: unknown): LayoutOutcome {
  const code = error instanceof DaxdError ? error.code : undefined;
  return GIVEN_UP.find((one) => one === code) ?? 'failed';
}
