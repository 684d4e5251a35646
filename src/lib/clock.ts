/** Stops a timer; does nothing once it has fired. */
export type CancelTimer = () => void;

/** Time as the layers see it, so that tests can hold it still. */
export interface Clock {
  /**
   * Milliseconds on the machine's monotonic clock, with fractions: the same in every process of
   * one boot, and of no meaning in another boot.
   */
  nowMs(): number;
  /** Milliseconds since the epoch, for what goes to media or to people. */
  wallMs(): number;
  /**
   * Runs `fire` once after `delayMs` (0 or more); the timer does not keep the process alive. Where
   * the process stood still meanwhile (stopped, frozen, at work), what came for it in that time
   * comes first: a renewal that was sent in time is read before the lease lapses.
   */
  setTimer(fire: () => void, delayMs: number): CancelTimer;
}

/** setTimeout fires at once when asked for more than a signed 32-bit count of milliseconds. */
const DELAY_MS_MAX = 2 ** 31 - 1;
/** A timer that fires later than this, in milliseconds, tells of a process that stood still. */
const STALL_MS = 250;
/** How long it then waits once more: as long as it is late, and at most this. */
const STALL_GRACE_MS_MAX = 1_000;

/** From the start of this process, where `performance` counts from, back to the zero of the machine. */
const PROCESS_START_MS = Number(process.hrtime.bigint()) / 1e6 - performance.now();

export const systemClock: Clock = {
  nowMs: () => PROCESS_START_MS + performance.now(),
  wallMs: () => Date.now(),
  setTimer(fire, delayMs) {
    const setMs = Math.min(delayMs, DELAY_MS_MAX);
    const dueMs = performance.now() + setMs;
    const reached = (): void => {
      const lateMs = performance.now() - dueMs;
      if (lateMs < STALL_MS) fire();
      else timer = setTimeout(fire, Math.min(lateMs, STALL_GRACE_MS_MAX)).unref();
    };
    let timer = setTimeout(reached, setMs).unref();
    return () => {
      clearTimeout(timer);
    };
  },
};

/**
 * Runs `fire` once after `delayMs` (0 or more, at most 2 ** 31 - 1), without the second wait of
 * {@link Clock.setTimer}: for what a stall makes more urgent, not for a deadline that another
 * process may have met meanwhile. The timer does not keep the process alive.
 */
export function setPromptTimer(fire: () => void, delayMs: number): CancelTimer {
  const timer = setTimeout(fire, delayMs).unref();
  return () => {
    clearTimeout(timer);
  };
}
