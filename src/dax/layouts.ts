import { Buckets } from '../lib/buckets.js';
import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { LatencyHistogram } from '../lib/latency-histogram.js';
import type { SortableIds } from '../lib/sortable-id.js';
import type { PfnRun } from '../mm/gup.js';
import { BrokenLayout, deviceGone, type BreakOptions, type LayoutPages } from './broken-layout.js';
import {
  LayoutChange,
  type LayoutChangeRequest,
  type LayoutOp,
  type PendingChange,
} from './layout-change.js';
import { pinnedRuns } from './pinned-runs.js';
import { PinTurn, type PinTurnRequest } from './pin-turn.js';

/** Codes of waits that were given up, each an outcome of its own. */
const GIVEN_UP = ['cancelled', 'deadline', 'draining', 'pages-pinned'] as const;

/** How a layout change's wait can end. */
export const LAYOUT_OUTCOMES = ['done', ...GIVEN_UP, 'failed'] as const;

/** One of {@link LAYOUT_OUTCOMES}. */
export type LayoutOutcome = (typeof LAYOUT_OUTCOMES)[number];

/** What {@link Layouts} is made from. */
export interface LayoutsOptions {
  /** Undefined on a filesystem without direct access: no wait there is ever for a page. */
  readonly device: LayoutPages | undefined;
  readonly clock: Clock;
  readonly ids: SortableIds;
  /** Takes the time from the put that made the last awaited page idle to the waiter running. */
  readonly pageFreeLatency: LatencyHistogram;
  /** Takes each wait once, when it ended; 0 seconds included. */
  readonly onWaitEnded: (op: LayoutOp, outcome: LayoutOutcome, seconds: number) => void;
  /** Told of each change that may have to wait as its barrier goes up, before its pages are looked at. */
  readonly onBarrierUp?: (change: PendingChange) => void;
  /** Told of each change once, when it finds that it has to wait. */
  readonly onWait?: (change: PendingChange) => void;
  /** Told of each change as its barrier comes down, also of those that never had to wait. */
  readonly onBarrierDown?: (change: PendingChange) => void;
}

/** Beyond this many pending changes of one filesystem a new one that has to wait is refused. */
export const PENDING_CHANGES_MAX = 4096;
/** And of one file: whoever has one in hand leaves room for others. */
export const PENDING_OF_INODE_MAX = 1024;

/**
 * All pending layout changes of one filesystem. While one is pending its barrier is up: no
 * new pin may start over its bytes, which is stricter than the kernel and keeps a truncate
 * from waiting for ever. Changes of overlapping bytes of one inode go first come, first
 * served; others pass.
 *
 * The order of one change: barrier up, its turn, wait until nothing is pinned;
 * then the caller commits, frees and lifts. One that defers leaves out the wait for pages.
 */
export class Layouts {
  readonly #options: LayoutsOptions;
  readonly #break: BreakOptions;
  /** By inode, each in the order in which they came: changes, and pins that wait for them. */
  readonly #queues = new Buckets<number, LayoutChange | PinTurn>();
  #draining = false;

  constructor(options: LayoutsOptions) {
    const { device, clock, pageFreeLatency } = options;
    this.#options = options;
    this.#break = {
      device,
      clock,
      pageFreeLatency,
      onWait: (change) => {
        options.onWait?.(change);
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

  /** How many are queued: what {@link pending} holds, and pins that wait for it. */
  get size(): number {
    return this.#queues.size;
  }

  /**
   * The earliest pending change over bytes `[from, to)` of the inode; with a `turn` of these
   * bytes, among those before it. Ask before each pin.
   */
  pendingOver(inode: number, from: number, to: number, turn?: PinTurn): PendingChange | undefined {
    for (const one of this.#queues.of(inode)) {
      if (one === turn && turn.from <= from && to <= turn.to) return undefined;
      if (one instanceof LayoutChange && one.overlaps(from, to)) return one;
    }
    return undefined;
  }

  /**
   * Waits until the changes of some bytes that are pending now have ended. Changes that come
   * later wait until the caller, which gets its pins meanwhile, ends the turn.
   *
   * @throws DaxdError the reason of an abort; `draining`; EBUSY when too many wait.
   */
  async pinTurn(request: PinTurnRequest): Promise<PinTurn> {
    const asking = { op: 'a pin', inode: request.inode };
    if (this.#draining) throw draining(asking);
    this.#refuseMany(asking);
    const turn = new PinTurn(request);
    this.#add(turn);
    try {
      if (turn.queued || turn.aborted !== undefined) await turn.turn();
      return turn;
    } catch (error) {
      this.endTurn(turn);
      throw error;
    }
  }

  /** Lets those who wait for a turn go on; does nothing when it has ended. */
  endTurn(turn: PinTurn): void {
    turn.ended();
    this.#remove(turn);
  }

  /** The first of some pages that is pinned, through whatever file; none without direct access. */
  firstPinned(run: PfnRun): number | undefined {
    const { device } = this.#options;
    return device === undefined ? undefined : pinnedRuns(device.pgmap, run)[0]?.firstPfn;
  }

  /** The pending changes over bytes `[from, to)` of the inode that wait for its pages. */
  *waitingOver(inode: number, from: number, to: number): Generator<PendingChange> {
    for (const one of this.#queues.of(inode)) {
      if (!(one instanceof LayoutChange) || !one.overlaps(from, to)) continue;
      if (one.state === 'queued' || one.state === 'breaking') yield one;
    }
  }

  /**
   * Puts the barrier up, before it returns, and waits until no page of the change is pinned.
   * Hold no transaction across it. The caller lifts what it gets, in every case.
   *
   * @throws DaxdError `cancelled` on an abort without a reason of its own or a cancel, `draining` at shutdown, ENXIO when
   *   the device detaches, EBUSY when it has to wait and too many do, and what `pages` throws.
   *   The barrier is down again and nothing of the file has changed.
   * @kernel ext4_break_layouts (fs/ext4/inode.c)
   */
  async breakLayouts(request: LayoutChangeRequest): Promise<BrokenLayout> {
    const passing = this.#passInFull(request);
    if (passing !== undefined) return passing;
    const { ids, clock, onWaitEnded, onBarrierUp } = this.#options;
    const change = new LayoutChange(request.resumed?.id ?? ids.next(), request, clock);
    try {
      this.#raise(change);
      onBarrierUp?.(change);
      const layout = await BrokenLayout.breakDaxLayouts(change, this.#break);
      onWaitEnded(change.op, 'done', layout.waitedMs / 1000);
      return layout;
    } catch (error) {
      onWaitEnded(change.op, outcomeOf(error), change.waitedMs() / 1000);
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
    const { ids, clock, onWaitEnded } = this.#options;
    const change = new LayoutChange(ids.next(), request, clock);
    this.#add(change);
    let layout: BrokenLayout | undefined;
    try {
      layout = BrokenLayout.tryBreakDaxLayouts(change, this.#break);
    } finally {
      if (layout === undefined) this.#end(change);
    }
    if (layout !== undefined) onWaitEnded(change.op, 'done', 0);
    return layout;
  }

  /** Rejects every wait, now and later, with `draining`. What waited already long enough commits. */
  drain(): void {
    this.#draining = true;
    for (const one of this.#queues.all()) {
      one.abort(draining({ op: opOf(one), inode: one.inode }));
    }
  }

  *#all(): Generator<LayoutChange> {
    for (const one of this.#queues.all()) if (one instanceof LayoutChange) yield one;
  }

  #raise(change: LayoutChange): void {
    if (this.#draining) throw draining(change);
    this.#refuseMany(change);
    const removal = this.#options.device?.pgmap.removal;
    if (removal !== undefined) change.follow(removal, () => deviceGone(change));
    this.#add(change);
  }

  /** Lets a change pass that needs no place among those who wait, where there is none left. */
  #passInFull(request: LayoutChangeRequest): BrokenLayout | undefined {
    const { inode, revoke, resumed, signal } = request;
    const isOver = this.#draining || signal?.aborted === true;
    if (isOver || this.#crowdAt(inode) === undefined) return undefined;
    // Holders are asked first, and one that goes on after a restart is known already.
    const mayPass = revoke === undefined && resumed === undefined;
    return mayPass ? this.tryBreakLayouts(request) : undefined;
  }

  #refuseMany({ op, inode }: Asking): void {
    const crowd = this.#crowdAt(inode);
    if (crowd === undefined) return;
    throw new DaxdError('EBUSY', `${op} of inode ${inode}: ${crowd} wait already, try again later`);
  }

  /** Who leaves no place for one more that waits for a file, if so. */
  #crowdAt(inode: number): string | undefined {
    const { size } = this.#queues.of(inode);
    if (size >= PENDING_OF_INODE_MAX) return `${size} changes of this file`;
    return this.#queues.size < PENDING_CHANGES_MAX ? undefined : `${this.#queues.size} changes`;
  }

  #add(added: LayoutChange | PinTurn): void {
    for (const earlier of this.#queues.of(added.inode)) {
      if (waitsFor(added, earlier)) added.addEarlier();
    }
    this.#queues.add(added.inode, added);
  }

  /** Takes the barrier down, if it was up, and counts the change off for those behind it. */
  #end(change: LayoutChange): void {
    change.ended();
    if (this.#remove(change)) this.#options.onBarrierDown?.(change);
  }

  #remove(left: LayoutChange | PinTurn): boolean {
    const queue = this.#queues.of(left.inode);
    if (!queue.has(left)) return false;
    let behind = false;
    for (const other of queue) {
      if (behind && waitsFor(other, left)) other.earlierEnded();
      behind ||= other === left;
    }
    return this.#queues.delete(left.inode, left);
  }
}

/** Who asks for a place in the queue, for messages. */
interface Asking {
  readonly op: string;
  readonly inode: number;
}

function opOf(one: LayoutChange | PinTurn): string {
  return one instanceof LayoutChange ? one.op : 'a pin';
}

/** Pins never wait for pins: any number may pin a page. */
function waitsFor(later: LayoutChange | PinTurn, earlier: LayoutChange | PinTurn): boolean {
  if (later instanceof PinTurn && earlier instanceof PinTurn) return false;
  return earlier.overlaps(later.from, later.to);
}

function draining({ op, inode }: Asking): DaxdError {
  return new DaxdError(
    'draining',
    `${op} of inode ${inode} is refused: the daemon is shutting down; the file is unchanged`,
  );
}

function outcomeOf(error: unknown): LayoutOutcome {
  const code = error instanceof DaxdError ? error.code : undefined;
  return GIVEN_UP.find((one) => one === code) ?? 'failed';
}
