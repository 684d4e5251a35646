/** How long a thread looks for bytes before it waits for them, in milliseconds. */
export const SPIN_MS = 0.06;
/** Looks in vain, one after the other, after which a connection waits at once. */
const MISSES_MAX = 50;
/** Short waits, one after the other, after which it looks again. */
const SHORT_WAITS_MIN = 20;

/**
 * Whether a connection looks for its next request before it goes to sleep. A client that
 * answers within microseconds is served without a wake-up, which costs more than the request;
 * one that does not costs no processor. Threads that look are at most one less than the
 * processors, so that their clients have one to run on.
 */
export class SpinGate {
  readonly #spinners: Int32Array;
  readonly #spinnersMax: number;
  #isOn = true;
  /** Misses while on, short waits while off. */
  #run = 0;

  /** @param spinners one number, shared by all threads: how many of them look. */
  constructor(spinners: Int32Array, spinnersMax: number) {
    this.#spinners = spinners;
    this.#spinnersMax = spinnersMax;
  }

  /** Whether to look now; if so, {@link leave} follows. @hot Once a batch. */
  tryEnter(): boolean {
    if (!this.#isOn) return false;
    if (Atomics.add(this.#spinners, 0, 1) < this.#spinnersMax) return true;
    Atomics.sub(this.#spinners, 0, 1);
    return false;
  }

  /** Says how the look ended. @hot Once a batch. */
  leave(found: boolean): void {
    Atomics.sub(this.#spinners, 0, 1);
    this.#run = found ? 0 : this.#run + 1;
    if (this.#run >= MISSES_MAX) this.#turn(false);
  }

  /** Says how long a wait took that no look came before. @hot Once a batch. */
  waited(ms: number): void {
    if (this.#isOn) return;
    this.#run = ms < SPIN_MS ? this.#run + 1 : 0;
    if (this.#run >= SHORT_WAITS_MIN) this.#turn(true);
  }

  #turn(isOn: boolean): void {
    this.#isOn = isOn;
    this.#run = 0;
  }
}
