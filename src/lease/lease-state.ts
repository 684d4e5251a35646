import { assert } from '../lib/assert.js';

/**
 * Life of a lease.
 *
 *     active <----renew---- suspect <--grace over-- reclaimable (from a restart on)
 *       |  \--ttl lapsed-------^|                     | | |
 *       |                       |                     | | +--renew--> active
 *       +--------+--------------+---------------------+ |
 *                |                                      +--other pages--> quarantined
 *                v                                                          |
 *             released <----------------------------------------------------+--fenced--> revoked
 *
 * A suspect lease has no rights left and keeps its pins: its holder may still have a device
 * that writes. Only a release, or proof that the holder is gone or fenced, frees pages. While a
 * change waits for an active lease the API calls it `recalling`: that follows from the change,
 * and is no state of its own. After a restart of the daemon a lease waits for its holder to go
 * on. One whose pages left its file, because a change would not wait or somebody else changed
 * the media meanwhile, is in quarantine: they stay pinned, and its holder cannot go on with it.
 * So is one that is being revoked, until there is proof.
 */
const TRANSITIONS = {
  active: ['suspect', 'quarantined', 'released'],
  suspect: ['active', 'quarantined', 'released'],
  reclaimable: ['active', 'suspect', 'quarantined', 'released'],
  quarantined: ['released', 'revoked'],
  released: [],
  revoked: [],
} as const satisfies Record<string, readonly string[]>;

/** Where a lease stands; in all but the last two it is held, so its pages are pinned. */
export type LeaseState = keyof typeof TRANSITIONS;
/** How a lease ended: given up by its holder, or taken from it. */
export type EndState = 'released' | 'revoked';
/** The states in which a lease pins pages. */
export type HeldState = Exclude<LeaseState, EndState>;

/** All {@link HeldState}s. */
export const HELD_STATES = ['active', 'suspect', 'reclaimable', 'quarantined'] as const;

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

/** Whether a lease in this state pins nothing any more. */
export function hasEnded(state: LeaseState): state is EndState {
  return state === 'released' || state === 'revoked';
}
