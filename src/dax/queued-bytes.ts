import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import type { Interruptible } from '../mm/page-waiters.js';

/** A place in the queue of those who want bytes of one file, first come, first served. */
export class QueuedBytes implements Interruptible {
  readonly inode: number;
  /** Half open; `to` may be Infinity. */
  readonly from: number;
  readonly to: number;
  /** Earlier ones over the same bytes, that have not ended. */
  #earlier = 0;
  #onTurn: (() => void) | undefined;
  #onAbort: ((error: DaxdError) => void) | undefined;
  #aborted: DaxdError | undefined;
  /** Undoes what {@link follow} registered. */
  readonly #unfollow: (() => void)[] = [];

  constructor(inode: number, from: number, to: number) {
    this.inode = inode;
    this.from = from;
    this.to = to;
  }

  /** Why the wait was given up, if it was. */
  get aborted(): DaxdError | undefined {
    return this.#aborted;
  }

  overlaps(from: number, to: number): boolean {
    return this.from < to && from < this.to;
  }

  /** Gives the wait up with what `error` makes when `signal` aborts, or at once where it has. */
  follow(signal: AbortSignal, error: () => DaxdError): void {
    const onAbort = (): void => {
      this.abort(error());
    };
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort);
    this.#unfollow.push(() => {
      signal.removeEventListener('abort', onAbort);
    });
  }

  /** Gives the wait up with `error`; the first error counts. */
  abort(error: DaxdError): void {
    this.#aborted ??= error;
    this.#onAbort?.(this.#aborted);
  }

  /** Has one port told of the abort; undefined: none. */
  onAbort(port: ((error: DaxdError) => void) | undefined): void {
    this.#onAbort = port;
  }

  /** Notes an earlier one that this one must let pass. */
  addEarlier(): void {
    this.#earlier++;
  }

  /** Notes that an earlier one ended. */
  earlierEnded(): void {
    assert(this.#earlier > 0, 'an earlier one ends once');
    this.#earlier--;
    if (this.#earlier === 0) this.#onTurn?.();
  }

  /** Whether an earlier one has to end first. */
  get queued(): boolean {
    return this.#earlier > 0;
  }

  /**
   * Settles when no earlier one is left. Rejects with the reason of an abort, which a
   * turn that has come already beats.
   */
  turn(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#aborted !== undefined) reject(this.#aborted);
      this.#onTurn = resolve;
      this.onAbort(reject);
    });
  }

  /** Stops looking for aborts: the wait is over. */
  protected settle(): void {
    for (const unfollow of this.#unfollow.splice(0)) unfollow();
    this.#onTurn = undefined;
    this.onAbort(undefined);
  }
}

/** The reason of an abort, where whoever aborted gave one of ours. */
export function reasonOf({ reason }: AbortSignal): DaxdError | undefined {
  return reason instanceof DaxdError ? reason : undefined;
}
