import { assert } from '../lib/assert.js';

/**
 * Life of a lease.
 *
 *     active <--renew-- suspect
 *       |  \--ttl lapsed-->^ |
 *       release              | release
 *       +----> released <----+
 *
 * A suspect lease has no rights left and keeps its pins: its holder may still have a device
 * that writes. Only a release, or proof that the holder's process is gone, frees pages.
 */
const TRANSITIONS = {
  active: ['suspect', 'released'],
  suspect: ['active', 'released'],
  released: [],
} as const satisfies Record<string, readonly string[]>;

/** Where a lease stands; `active` and `suspect` are held, so their pages are pinned. */
export type LeaseState = keyof typeof TRANSITIONS;
/** The states in which a lease pins pages. */
export type HeldState = Exclude<LeaseState, 'released'>;

/**
 * The state that follows; every change of a lease's state passes this table.
 *
 * @throws InvariantError when the table has no such edge.
 */
export function nextLeaseState(from: LeaseState, to: LeaseState): LeaseState {
  const allowed: readonly LeaseState[] = TRANSITIONS[from];
  assert(allowed.includes(to), `lease state ${from} -> ${to} is not an edge`);
  return to;
}
