import type { EventFields } from '../lib/event-ring.js';
import type { LeaseState } from './lease-state.js';
import type { Lease } from './lease.js';

/** Names of moves that have a better word than the state they lead to. */
const NAMES: Readonly<Record<string, string>> = { active: 'renewed', suspect: 'lapsed' };

/** What the move of a lease into its state is called: `lease.released`, `lease.lapsed`. */
export function leaseEventName(to: LeaseState): string {
  return `lease.${NAMES[to] ?? to}`;
}

/** What each event of a lease says of it. */
export function leaseEventFields(lease: Lease, reason?: string): EventFields {
  const { partition, path, client, access, offset, length } = lease.terms;
  return {
    lease: lease.id,
    state: lease.state,
    partition,
    path,
    client,
    access,
    offset,
    length,
    reason,
  };
}
