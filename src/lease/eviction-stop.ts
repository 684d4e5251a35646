/**
 * The end of an eviction before its time, for all leases of it: when its change is given up, or
 * once the store has failed for one. A signal would look through its listeners for each lease.
 */
export class EvictionStop {
  readonly #signal: AbortSignal;
  readonly #ports = new Set<() => void>();
  #isNow: boolean;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    this.#isNow = signal.aborted;
    signal.addEventListener('abort', this.now);
  }

  /** Whether it stops. */
  get isNow(): boolean {
    return this.#isNow;
  }

  /** Stops it. */
  readonly now = (): void => {
    this.#isNow = true;
    for (const tell of this.#ports) tell();
  };

  /** Has `port` told of the stop; what it returns ends that. */
  onStop(port: () => void): () => void {
    this.#ports.add(port);
    return () => {
      this.#ports.delete(port);
    };
  }

  /** It is over: nobody needs to be told any more. */
  forget(): void {
    this.#signal.removeEventListener('abort', this.now);
  }
}
