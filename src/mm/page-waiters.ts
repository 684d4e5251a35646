import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import { PAGES_PER_PMD, roundDown } from '../lib/units.js';
import type { DevPagemap } from './dev-pagemap.js';

/**
 * Those who wait until a page is idle, found from the page and from the head of its block.
 *
 * @kernel wait_var_event, wake_up_var (kernel/sched/wait_bit.c)
 */
export class PageWaiters {
  /** Of the waiters that were woken: whether what they waited for was true when they ran. */
  readonly wakeups = { useful: 0, spurious: 0 };
  readonly #clock: Clock;
  readonly #byKey = new Map<number, Set<Waiter>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many wait now. */
  get size(): number {
    let size = 0;
    for (const waiters of this.#byKey.values()) size += waiters.size;
    return size;
  }

  /**
   * Waits until `condition` holds, testing it now and after each wake of page `pfn`. A
   * condition that holds beats a signal that is aborted.
   *
   * @returns when the wake came that ended the wait (Clock.nowMs), undefined when there was
   *   nothing to wait for.
   * @throws DaxdError once `signal` aborts: its reason where that is a DaxdError, else `cancelled`.
   */
  async waitVarEvent(
    pfn: number,
    condition: () => boolean,
    signal?: AbortSignal,
  ): Promise<number | undefined> {
    const waiter = new Waiter(pfn);
    const rouse = (): void => {
      waiter.rouse();
    };
    this.#register(waiter);
    signal?.addEventListener('abort', rouse);
    try {
      for (;;) {
        // Register, then test: a wake after the test finds the waiter, so none is lost.
        const roused = waiter.arm();
        const wokenMs = waiter.wokenMs;
        waiter.wokenMs = undefined;
        const holds = condition();
        if (wokenMs !== undefined) this.wakeups[holds ? 'useful' : 'spurious']++;
        if (holds) return wokenMs;
        if (signal?.aborted === true) throw abortError(signal, pfn);
        await roused;
      }
    } finally {
      signal?.removeEventListener('abort', rouse);
      this.#unregister(waiter);
    }
  }

  /**
   * Wakes all who wait on page `pfn`.
   *
   * @hot Once a page that goes idle.
   */
  wakeUpVar(pfn: number): void {
    const waiters = this.#byKey.get(waitKey(pfn));
    if (waiters === undefined) return;
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
    const waiters = this.#byKey.get(waitKey(headPfn));
    if (waiters === undefined) return;
    const nowMs = this.#clock.nowMs();
    for (const waiter of waiters) if (pgmap.isIdlePfn(waiter.pfn)) waiter.wake(nowMs);
  }

  #register(waiter: Waiter): void {
    const key = waitKey(waiter.pfn);
    const waiters = this.#byKey.get(key);
    if (waiters === undefined) this.#byKey.set(key, new Set([waiter]));
    else waiters.add(waiter);
  }

  #unregister(waiter: Waiter): void {
    const key = waitKey(waiter.pfn);
    const waiters = this.#byKey.get(key);
    waiters?.delete(waiter);
    if (waiters?.size === 0) this.#byKey.delete(key);
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

function abortError(signal: AbortSignal, pfn: number): DaxdError {
  const reason: unknown = signal.reason;
  if (reason instanceof DaxdError) return reason;
  return new DaxdError('cancelled', `the wait for page ${pfn} to go idle was cancelled`);
}
