import { Buckets } from '../lib/buckets.js';
import type { Clock } from '../lib/clock.js';
import type { DaxdError } from '../lib/errno.js';
import { PAGES_PER_PMD, roundDown } from '../lib/units.js';
import type { DevPagemap } from './dev-pagemap.js';

/**
 * What may give a wait up. An AbortSignal would do, but one for each wait outlives the young
 * generation's collections, and the wake pays for it in page faults.
 */
export interface Interruptible {
  /** Why the wait is given up, once it is. */
  readonly aborted: DaxdError | undefined;
  /** Has `rouse` called when that happens; undefined: nobody is to be called any more. */
  onAbort(rouse: (() => void) | undefined): void;
}

/**
 * Those who wait until a page is idle, found from the page and from the head of its block.
 *
 * @kernel wait_var_event, wake_up_var (kernel/sched/wait_bit.c)
 */
export class PageWaiters {
  /** Of the waiters that were woken: whether what they waited for was true when they ran. */
  readonly wakeups = { useful: 0, spurious: 0 };
  readonly #clock: Clock;
  readonly #byKey = new Buckets<number, Waiter>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many wait now. */
  get size(): number {
    return this.#byKey.size;
  }

  /**
   * Waits until `condition` holds, testing it now and after each wake of page `pfn`. A
   * condition that holds beats an abort.
   *
   * @returns when the wake came that ended the wait (Clock.nowMs), undefined when there was
   *   nothing to wait for.
   * @throws DaxdError why `by` gives the wait up.
   */
  async waitVarEvent(
    pfn: number,
    condition: () => boolean,
    by?: Interruptible,
  ): Promise<number | undefined> {
    const waiter = new Waiter(pfn);
    const key = waitKey(pfn);
    this.#byKey.add(key, waiter);
    by?.onAbort(() => {
      waiter.rouse();
    });
    try {
      for (;;) {
        // Register, then test: a wake after the test finds the waiter, so none is lost.
        const roused = waiter.arm();
        const wokenMs = waiter.wokenMs;
        waiter.wokenMs = undefined;
        const holds = condition();
        if (wokenMs !== undefined) this.wakeups[holds ? 'useful' : 'spurious']++;
        if (holds) return wokenMs;
        if (by?.aborted !== undefined) throw by.aborted;
        await roused;
      }
    } finally {
      by?.onAbort(undefined);
      this.#byKey.delete(key, waiter);
    }
  }

  /**
   * Wakes all who wait on page `pfn`.
   *
   * @hot Once a page that goes idle.
   */
  wakeUpVar(pfn: number): void {
    const waiters = this.#byKey.of(waitKey(pfn));
    if (waiters.size === 0) return;
    const nowMs = this.#clock.nowMs();
    for (const waiter of waiters) if (waiter.pfn === pfn) waiter.wake(nowMs);
  }

  /**
   * Wakes those who wait on a page of the block at `headPfn` that is idle now: a page that
   * is pinned by itself as well stays busy when its block is released.
   *
   * @hot Once a block that goes idle.
   */
  wakeUpBlock(headPfn: number, pgmap: DevPagemap): void {
    const waiters = this.#byKey.of(waitKey(headPfn));
    if (waiters.size === 0) return;
    const nowMs = this.#clock.nowMs();
    for (const waiter of waiters) if (pgmap.isIdlePfn(waiter.pfn)) waiter.wake(nowMs);
  }
}

/**
 * Where the waiters of a page stand. Those who wait and those who wake both come here: a
 * waker with another key loses wakeups.
 */
function waitKey(pfn: number): number {
  return roundDown(pfn, PAGES_PER_PMD);
}

/** One wait: armed before each test, roused by a wake or an abort. */
class Waiter {
  readonly pfn: number;
  /** When a wake came that was not yet looked at. */
  wokenMs: number | undefined;
  #resolve: () => void = () => {};

  constructor(pfn: number) {
    this.pfn = pfn;
  }

  /** Settles at the next {@link rouse}. */
  arm(): Promise<void> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  rouse(): void {
    this.#resolve();
  }

  wake(nowMs: number): void {
    this.wokenMs = nowMs;
    this.rouse();
  }
}
