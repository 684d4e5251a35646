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
  /** Runs `fire` once after `delayMs` (0 or more); the timer does not keep the process alive. */
  setTimer(fire: () => void, delayMs: number): CancelTimer;
}

/** setTimeout fires at once when asked for more than a signed 32-bit count of milliseconds. */
const DELAY_MS_MAX = 2 ** 31 - 1;

/** From the start of this process, where `performance` counts from, back to the zero of the machine. */
const PROCESS_START_MS = Number(process.hrtime.bigint()) / 1e6 - performance.now();

export const systemClock: Clock = {
  nowMs: () => PROCESS_START_MS + performance.now(),
  wallMs: () => Date.now(),
  setTimer(fire, delayMs) {
    const timer = setTimeout(fire, Math.min(delayMs, DELAY_MS_MAX));
    timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },
};
