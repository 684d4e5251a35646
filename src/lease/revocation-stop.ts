import { withResolvers } from '../lib/with-resolvers.js';

/**
 * The end of a revocation before its time, for all leases of it: when its change is given up, or
 * once the store has failed for one. A signal would look through its listeners for each lease.
 */
export class RevocationStop {
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

  /**
   * Settles as `work` does, or at the stop where that comes first: then `work` is the caller's
   * still, and how it ends.
   *
   * @throws what `work` rejects with before the stop.
   */
  async race(work: Promise<void>): Promise<void> {
    if (this.#isNow) return;
    const { promise: stopped, resolve } = withResolvers();
    this.#ports.add(resolve);
    try {
      await Promise.race([work, stopped]);
    } finally {
      this.#ports.delete(resolve);
    }
  }

  /** It is over: nobody needs to be told any more. */
  forget(): void {
    this.#signal.removeEventListener('abort', this.now);
  }
}
