import { assert, InvariantError } from '../lib/assert.js';
import { type Clock, systemClock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../lib/latency-histogram.js';
import { roundDown, roundUp } from '../lib/units.js';
import { UsageRef } from '../lib/usage-ref.js';
import type { Mapping } from './mapping.js';

/** How stores become durable: by msync, by libpmem's cache flushes, or not at all. */
export type PersistenceKind = 'msync' | 'libpmem' | 'none';

/**
 * Makes the stores to one view of a mapping durable, off the main thread. Whoever calls it
 * keeps the mapping until it settles: a flush of unmapped memory faults.
 */
export type PersistView = (view: Buffer) => Promise<void>;

/** What a {@link Persister} works on. */
export interface PersisterOptions {
  readonly path: string;
  readonly mapping: Mapping;
  /** `undefined` where there is nothing to do: tmpfs, or an operator who wants none. */
  readonly persistView: PersistView | undefined;
  /** What the ends of a range are rounded out to, such as 4096 for msync; 1 for none. */
  readonly granularityBytes: number;
  readonly clock: Clock | undefined;
}

/**
 * Calls under way at a time. They block threads of libuv's pool, four by default, which file
 * reads and name lookups need too; koffi itself refuses more than 256 that wait for one.
 */
const CALLS_MAX = 3;

/**
 * Runs the persists of one backing, a call a window, and times them.
 *
 * Linux tells of a page that it could not write once to each open file (errseq_t, linux/errseq.h),
 * and takes the page for clean: whichever call is under way hears of it, and those after it
 * nothing. So nobody is told that bytes are durable before all calls under way have ended, nor
 * ever again once one of them failed.
 */
export class Persister {
  readonly latency = new LatencyHistogram(FAST_BOUNDS_SECONDS);
  readonly #path: string;
  readonly #mapping: Mapping;
  readonly #persistView: PersistView | undefined;
  readonly #granularityBytes: number;
  readonly #clock: Clock;
  readonly #usage = new UsageRef();
  #calls = 0;
  /** Those that run, as promises that never reject. */
  readonly #underWay = new Set<Promise<void>>();
  /** What the first call that failed says. */
  #failure: Error | undefined;
  /** Its length is bounded by whoever issues persists: each waits for its own. */
  readonly #waiting: (() => void)[] = [];

  constructor({ path, mapping, persistView, granularityBytes, clock }: PersisterOptions) {
    this.#path = path;
    this.#mapping = mapping;
    this.#persistView = persistView;
    this.#granularityBytes = granularityBytes;
    this.#clock = clock ?? systemClock;
  }

  /**
   * Settles when the stores to [offset, offset + length) are durable. Windows are persisted
   * independently, and all of them are tried even where one fails.
   *
   * @throws DaxdError EIO, whose cause carries the errno of the call; from then on always.
   */
  async persist(offset: number, length: number): Promise<void> {
    const open = this.#usage.tryGet();
    assert(open, 'nothing is persisted once the backing is closed');
    try {
      assert(
        offset >= 0 && length >= 0 && offset + length <= this.#mapping.length,
        'a persist lies inside its backing',
      );
      if (this.#persistView === undefined || length === 0) return;
      const startMs = this.#clock.nowMs();
      await this.#persistWindows(this.#persistView, offset, length);
      this.latency.observe((this.#clock.nowMs() - startMs) / 1000);
    } finally {
      this.#usage.put();
    }
  }

  /** Refuses persists from now on and waits for those under way. */
  async shut(): Promise<void> {
    this.#usage.kill();
    await this.#usage.whenZero();
  }

  async #persistWindows(persistView: PersistView, offset: number, length: number): Promise<void> {
    const start = roundDown(offset, this.#granularityBytes);
    const end = roundUp(offset + length, this.#granularityBytes);
    const views = this.#mapping.touchedViews(start, end - start);
    await Promise.all(views.map((view) => this.#inTurn(() => persistView(view))));
    await Promise.all(this.#underWay);
    const cause = this.#failure;
    if (cause === undefined) return;
    if (!(cause instanceof DaxdError)) throw cause;
    throw new DaxdError(
      'EIO',
      `${this.#path}: bytes [${offset}, ${offset + length}) may not be durable, ` +
        `${cause.message}: check the disk below it, then start daxd anew`,
      { cause },
    );
  }

  /** Runs `call` when fewer than {@link CALLS_MAX} run; first come, first served. Never rejects. */
  async #inTurn(call: () => Promise<void>): Promise<void> {
    // A slot is handed from call to call, so it stays counted while somebody waits for it.
    if (this.#calls < CALLS_MAX) this.#calls++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const running = this.#noted(call);
    this.#underWay.add(running);
    await running;
    this.#underWay.delete(running);
    const next = this.#waiting.shift();
    if (next) next();
    else this.#calls--;
  }

  async #noted(call: () => Promise<void>): Promise<void> {
    try {
      await call();
    } catch (failure) {
      this.#failure ??= failure instanceof Error ? failure : new InvariantError(String(failure));
    }
  }
}
