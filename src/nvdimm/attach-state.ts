import { assert } from '../lib/assert.js';

/**
 * Life of one pmem device.
 *
 *     detached --attach--> attaching --disk added--> attached
 *        ^                    | a step fails             | detach
 *        |                    v                          |
 *        +--all released-- detaching <-------------------+
 */
const TRANSITIONS = {
  detached: ['attaching'],
  attaching: ['attached', 'detaching'],
  attached: ['detaching'],
  detaching: ['detached'],
} as const satisfies Record<string, readonly string[]>;

/** Where a device is on that way. */
export type AttachState = keyof typeof TRANSITIONS;

/**
 * The state behind the edge from `from` to `to`.
 *
 * @throws InvariantError when the table has no such edge.
 */
export function nextAttachState(from: AttachState, to: AttachState): AttachState {
  const allowed: readonly AttachState[] = TRANSITIONS[from];
  assert(allowed.includes(to), `attach state ${from} -> ${to} is not an edge`);
  return to;
}

/** The state of one device. `to` is its only writer, so every edge passes the table. */
export class AttachLife {
  #state: AttachState = 'detached';

  get state(): AttachState {
    return this.#state;
  }

  to(state: AttachState): void {
    this.#state = nextAttachState(this.#state, state);
  }
}
