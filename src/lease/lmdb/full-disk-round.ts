import type { StoreChange } from '../lease-store.js';
import { isLess, takesRoom } from './change-kinds.js';
import { keysIn } from './growth.js';

/** How many keys a transaction writes and removes at most where the disk is full. */
const KEYS_MAX = 32;

/** A call of commit. */
interface Call {
  readonly changes: readonly StoreChange[];
}

/** What becomes of calls where the disk is full. */
export interface FullDiskRound<C extends Call> {
  /** Those that would take more room. */
  readonly refused: readonly C[];
  /** Those to be written now: few, since each copies pages before it gives any back. */
  readonly now: readonly C[];
  readonly later: readonly C[];
}

/**
 * Chooses what to write on a full disk: what gives room back goes first, a few calls at a time,
 * and leases become smaller one by one, each in pages that others left.
 */
export function fullDiskRound<C extends Call>(calls: readonly C[]): FullDiskRound<C> {
  const refused = calls.filter(({ changes }) => takesRoom(changes));
  const going = calls.filter(({ changes }) => !takesRoom(changes) && !isLess(changes));
  const smaller = calls.filter(({ changes }) => !takesRoom(changes) && isLess(changes));
  const count = going.length > 0 ? fewOf(going) : 0;
  const less = going.length > 0 ? 0 : 1;
  return {
    refused,
    now: [...going.slice(0, count), ...smaller.slice(0, less)],
    later: [...going.slice(count), ...smaller.slice(less)],
  };
}

/** How many of them a transaction takes: one at least. */
function fewOf(calls: readonly Call[]): number {
  let keys = 0;
  const count = calls.findIndex(({ changes }, index) => {
    keys += keysIn(changes);
    return index > 0 && keys > KEYS_MAX;
  });
  return count < 0 ? calls.length : count;
}
