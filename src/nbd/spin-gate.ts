/** How long a thread looks for bytes before it waits for them, in milliseconds. */
export const SPIN_MS = 0.06;

/** Batches of a trial, with looking and without. */
const TRIAL_BATCHES = 64;
/** Batches after a trial until the next one. */
const SETTLED_BATCHES = 4096;
/** What one batch counts at most, in milliseconds: a client that pauses says nothing. */
const BATCH_MS_MAX = 1;
/** Looking costs a processor, so it has to be faster by this much. */
const WORTH_IT = 0.9;

/**
 * Whether a connection looks for its next request before it goes to sleep. Where processors
 * idle, a look saves the wake-up, which costs more than the request; where they are busy, it
 * keeps the client from running. Nobody can know which, so it is tried: some batches with,
 * some without, and what was faster goes on for a while.
 *
 *     trial with --> trial without --> the better of both --> trial with …
 *
 * Threads that look are at most one less than the processors.
 */
export class SpinGate {
  readonly #spinners: Int32Array;
  readonly #spinnersMax: number;
  #phase: 'with' | 'without' | 'settled' = 'with';
  #looks = true;
  #left = TRIAL_BATCHES;
  /** Milliseconds of the phase so far, and of the trial with looking. */
  #spentMs = 0;
  #withMs = 0;

  /** @param spinners one number, shared by all threads: how many of them look. */
  constructor(spinners: Int32Array, spinnersMax: number) {
    this.#spinners = spinners;
    this.#spinnersMax = spinnersMax;
  }

  /** Whether to look now; if so, {@link leave} follows. @hot Once a batch. */
  tryEnter(): boolean {
    if (!this.#looks) return false;
    if (Atomics.add(this.#spinners, 0, 1) < this.#spinnersMax) return true;
    this.leave();
    return false;
  }

  /** The look is over. @hot Once a batch. */
  leave(): void {
    Atomics.sub(this.#spinners, 0, 1);
  }

  /** Says how long after the batch before another one came. @hot Once a batch. */
  took(ms: number): void {
    this.#spentMs += Math.min(ms, BATCH_MS_MAX);
    this.#left--;
    if (this.#left === 0) this.#next();
  }

  #next(): void {
    if (this.#phase === 'with') {
      this.#withMs = this.#spentMs;
      this.#enter('without', TRIAL_BATCHES, false);
    } else if (this.#phase === 'without') {
      this.#enter('settled', SETTLED_BATCHES, this.#withMs < this.#spentMs * WORTH_IT);
    } else this.#enter('with', TRIAL_BATCHES, true);
  }

  #enter(phase: 'with' | 'without' | 'settled', batches: number, looks: boolean): void {
    this.#phase = phase;
    this.#left = batches;
    this.#looks = looks;
    this.#spentMs = 0;
  }
}
