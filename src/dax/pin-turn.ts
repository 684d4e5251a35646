import { DaxdError } from '../lib/errno.js';
import { QueuedBytes, reasonOf } from './queued-bytes.js';

/** Bytes of a file that somebody wants to pin. */
export interface PinTurnRequest {
  readonly inode: number;
  readonly from: number;
  readonly to: number;
  /** Aborted: the wait is given up, with its reason if that is a DaxdError, else `cancelled`. */
  readonly signal: AbortSignal;
}

/**
 * The turn of a request for pins that waits for the changes before it. Until it ends, changes
 * that came later wait for it: so neither changes nor pins starve the other.
 */
export class PinTurn extends QueuedBytes {
  constructor({ inode, from, to, signal }: PinTurnRequest) {
    super(inode, from, to);
    this.follow(signal, () => reasonOf(signal) ?? cancelled(inode));
  }

  /** Leaves the queue for good. */
  ended(): void {
    this.settle();
  }
}

function cancelled(inode: number): DaxdError {
  return new DaxdError(
    'cancelled',
    `the wait for a change of inode ${inode} was cancelled: nothing is pinned`,
  );
}
