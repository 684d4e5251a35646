import { reasonOf } from '../dax/queued-bytes.js';
import type { PinTurn } from '../dax/pin-turn.js';
import type { CancelTimer, Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { FilePlace, LeasePlace } from './lease-place.js';
import type { FilesystemTarget } from './lease-target.js';
import type { LeaseRequest } from './lease-request.js';

/** A turn, and the queue that it stands in. */
interface Standing {
  readonly turn: PinTurn;
  readonly layouts: FilesystemTarget['layouts'];
}

/** What ends a wait. */
interface WaitLimit {
  readonly signal: AbortSignal;
  readonly cancel: CancelTimer;
}

/**
 * The turn of one request for a lease among the changes of its file. A request that does not
 * wait has none. To be ended once the lease is granted or refused.
 */
export class LeaseTurn {
  readonly #request: LeaseRequest;
  readonly #clock: Clock;
  readonly #signal: AbortSignal | undefined;
  /** There once it waits. */
  #limit: WaitLimit | undefined;
  #standing: Standing | undefined;

  /** @param signal gives the wait up. */
  constructor(request: LeaseRequest, clock: Clock, signal: AbortSignal | undefined) {
    this.#request = request;
    this.#clock = clock;
    this.#signal = signal;
  }

  /**
   * Whether changes come first that the request waits for.
   *
   * @throws DaxdError `recall-conflict` where it does not wait.
   */
  mustWait(place: LeasePlace): place is FilePlace {
    const { file, target, from, to } = place;
    if (file === undefined) return false;
    const { layouts } = target;
    const turn = this.#standing?.layouts === layouts ? this.#standing.turn : undefined;
    const pending = layouts.pendingOver(file.inode, from, to, turn);
    if (pending === undefined) return false;
    if ((this.#request.waitMs ?? 0) === 0) throw isPending(pending, place, this.#request);
    return true;
  }

  /**
   * Waits for these changes. All that the request stands on is to be looked at anew then.
   *
   * @throws DaxdError `recall-conflict` when its time is up; `cancelled`, `draining`; EBUSY when
   *   too many wait.
   */
  async come({ file, target, from, to }: FilePlace): Promise<void> {
    // It is another file now, or the first turn.
    this.#leave();
    const { layouts } = target;
    this.#limit ??= this.#startLimit();
    const { signal } = this.#limit;
    this.#standing = {
      layouts,
      turn: await layouts.pinTurn({ inode: file.inode, from, to, signal }),
    };
  }

  /** Lets later changes go on. */
  end(): void {
    this.#limit?.cancel();
    this.#leave();
  }

  #startLimit(): WaitLimit {
    const over = new AbortController();
    const cancel = this.#clock.setTimer(() => {
      over.abort(stillPending(this.#request));
    }, this.#request.waitMs ?? 0);
    const signals = [over.signal, ...(this.#signal === undefined ? [] : [this.#signal])];
    return { signal: AbortSignal.any(signals), cancel };
  }

  #leave(): void {
    if (this.#standing === undefined) return;
    const { layouts, turn } = this.#standing;
    this.#standing = undefined;
    layouts.endTurn(turn);
  }
}

/** A lease over a pending change would keep it waiting for ever. */
function isPending(
  { op, id }: { readonly op: string; readonly id: string },
  { from, to }: Pick<FilePlace, 'from' | 'to'>,
  { path }: LeaseRequest,
): DaxdError {
  return new DaxdError(
    'recall-conflict',
    `${op} ${id} waits to change bytes of ${path} between ${from} and ${to}: ask again once that operation is done, or with wait_ms`,
  );
}

function stillPending({ path, waitMs }: LeaseRequest): DaxdError {
  return new DaxdError(
    'recall-conflict',
    `changes of ${path} are pending still after ${waitMs} ms: nothing is pinned; ask again later`,
  );
}

/** Refuses a request whose client is gone. @throws DaxdError `cancelled`; why else it was given up. */
export function refuseGivenUp(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  const detail = 'the request for a lease was cancelled: nothing is pinned';
  throw reasonOf(signal) ?? new DaxdError('cancelled', detail);
}

/** Refuses what would have the next daemon begin with more. @throws DaxdError `draining` */
export function refuseDraining(isDraining: boolean): void {
  if (!isDraining) return;
  throw new DaxdError('draining', 'daxd is shutting down: leases can only be released');
}
