import type { CancelTimer, Clock, setPromptTimer } from '../lib/clock.js';
import { randomU32 } from '../lib/random.js';

/** What is left of a ttl at the latest renewal, in milliseconds, and as a share of the ttl. */
const RESERVE_MS_MAX = 1_000;
const RESERVE_SHARE = 4;
/** Pauses between two tries, in milliseconds; doubled after each that failed. */
const RETRY_MS = 50;
const RETRY_MS_MAX = 2_000;

/** One renewal: gives what is left of the ttl, in milliseconds. */
type Renew = () => Promise<number>;

/** What {@link Renewal} goes by, and what it tells its lease. */
export interface RenewalPorts {
  readonly clock: Pick<Clock, 'nowMs'>;
  /** Where the process stood still, each millisecond more is one of the ttl. */
  readonly setPromptTimer: typeof setPromptTimer;
  readonly renew: Renew;
  /** A try failed, the given error being why. @returns whether there is any use in another. */
  readonly failed: (error: unknown) => boolean;
  /** The ttl is over without a renewal; the tries go on. */
  readonly lapsed: () => void;
}

/**
 * Renews a lease at a third of its ttl, a little earlier at random so that holders of one time
 * do not come at one time, and never later than a reserve before its end. Where that fails it
 * tries again and again, until it is stopped.
 */
export class Renewal {
  readonly #ttlMs: number;
  readonly #ports: RenewalPorts;
  #cancelTimer: CancelTimer = () => {};
  #cancelDeadline: CancelTimer = () => {};
  #deadlineMs = 0;
  #retryMs = RETRY_MS;
  #isStopped = false;
  #isRenewing = false;
  /** What the renewal under way brings may be older than what another one was asked for. */
  #isWantedAgain = false;
  #hasLapsed = false;

  constructor(ttlMs: number, ports: RenewalPorts) {
    this.#ttlMs = ttlMs;
    this.#ports = ports;
  }

  /** Takes note of a grant. @param sentMs when it was asked for, on the clock. */
  granted(sentMs: number, remainingMs: number): void {
    // The ttl began when the daemon answered, which was not before the call.
    this.#deadlineMs = sentMs + remainingMs;
    this.#retryMs = RETRY_MS;
    this.#hasLapsed = false;
    this.#awaitDeadline();
    this.#at(renewalDelayMs(this.#ttlMs, this.#deadlineMs - this.#ports.clock.nowMs()));
  }

  /** Renews at once; where a renewal is under way, when that has ended. */
  now(): void {
    if (this.#isRenewing) this.#isWantedAgain = true;
    else this.#at(0);
  }

  /** Renews no more. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelTimer();
    this.#cancelDeadline();
  }

  /** Has the end of the ttl told when it comes: a try may be without an answer for longer. */
  #awaitDeadline(): void {
    this.#cancelDeadline();
    const leftMs = this.#deadlineMs - this.#ports.clock.nowMs();
    // Nothing is left where a lease is not active, or its grant was long in coming: that does
    // not lapse here, and the first try that fails tells.
    if (leftMs <= 0) return;
    this.#cancelDeadline = this.#ports.setPromptTimer(() => {
      this.#lapse();
    }, leftMs);
  }

  #lapse(): void {
    if (this.#hasLapsed) return;
    this.#hasLapsed = true;
    this.#ports.lapsed();
  }

  #at(delayMs: number): void {
    this.#cancelTimer();
    if (this.#isStopped) return;
    this.#cancelTimer = this.#ports.setPromptTimer(() => {
      void this.#renew();
    }, delayMs);
  }

  async #renew(): Promise<void> {
    this.#isRenewing = true;
    this.#isWantedAgain = false;
    const sentMs = this.#ports.clock.nowMs();
    try {
      const remainingMs = await this.#ports.renew();
      if (this.#isStopped) return;
      this.granted(sentMs, remainingMs);
      if (this.#isWantedAgain) this.#at(0);
    } catch (error) {
      // The next try is what was asked for meanwhile, too.
      if (!this.#isStopped && this.#ports.failed(error)) this.#retry();
    } finally {
      this.#isRenewing = false;
    }
  }

  #retry(): void {
    if (this.#deadlineMs <= this.#ports.clock.nowMs()) this.#lapse();
    this.#at(this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
  }
}

/** When to renew, in milliseconds from now. */
export function renewalDelayMs(
  ttlMs: number,
  remainingMs: number,
  random = randomU32() / 2 ** 32,
): number {
  const third = (ttlMs / 3) * (1 - random / 10);
  const latest = remainingMs - Math.min(RESERVE_MS_MAX, ttlMs / RESERVE_SHARE);
  // Nothing is left where a lease is not active: then no more often than any other try.
  return Math.max(RETRY_MS, Math.min(third, latest));
}
