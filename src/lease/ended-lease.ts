import type { Clock } from '../lib/clock.js';
import type { ByteRange } from '../lib/byte-range.js';
import { DaxdError } from '../lib/errno.js';
import { pagesCovering, subtract } from './byte-ranges.js';
import type { LeaseRecord, LeaseTombstone } from './lease-record.js';
import type { LeaseTerms } from './lease-terms.js';
import type { LeaseStore, StoreChange } from './lease-store.js';
import type { LeaseEnd } from './held-leases.js';
import { Lease } from './lease.js';
import { hasEnded } from './lease-state.js';
import type { LeasePlacement } from './lease.js';
import { clipRuns } from './page-runs.js';

/** Nobody compares the media of a lease that has ended, so they are not kept. */
const NO_MEDIA = { partition: '' };

/** The change by which a store remembers the end of a lease, beside the one that ends it. */
export function rememberEnd(
  { terms, quarantined }: Pick<LeaseRecord, 'quarantined' | 'terms'>,
  { state, reason }: LeaseEnd,
  clock: Clock,
): StoreChange {
  const endedMs = clock.wallMs();
  const tombstone = { terms: rememberedTermsOf(terms), state, reason, endedMs, quarantined };
  return { kind: 'tombstone', tombstone };
}

/**
 * What is to be kept of a lease in quarantine that goes on with `rest` of its bytes, until the
 * blocks of the others are freed; undefined where the filesystem keeps none for it. It has an id of
 * its own, which sorts behind that of the lease and before all later ones: a lease gives each page
 * back once, so where the first one lies tells the parts apart.
 */
export function givenBack(
  { terms, ranges, runs, quarantined }: Lease,
  rest: readonly ByteRange[],
): LeaseRecord | undefined {
  if (quarantined?.cause !== 'deferred') return undefined;
  const over = clipRuns(runs, subtract(pagesCovering(ranges), pagesCovering(rest)));
  const [first] = over;
  if (first === undefined) return undefined;
  const id = `${terms.id}:${first.deviceOffset}`;
  return { terms: { ...terms, id }, holding: { ranges: [], runs: over }, quarantined, ended: true };
}

/** Name by name: to leave some out of a spread costs many times as much. */
function rememberedTermsOf(terms: LeaseTerms): LeaseTombstone['terms'] {
  return {
    id: terms.id,
    fencingToken: terms.fencingToken,
    partition: terms.partition,
    path: terms.path,
    offset: terms.offset,
    length: terms.length,
    access: terms.access,
    ttlMs: terms.ttlMs,
    client: terms.client,
    secretHash: terms.secretHash,
    secretSalt: terms.secretSalt,
    holder: terms.holder,
    grantedMs: terms.grantedMs,
  };
}

/**
 * A lease that has ended, as its store remembers it; undefined where it does not.
 *
 * @throws DaxdError EBADMSG for one that is damaged.
 */
export function endedLease(
  { store, ...place }: LeasePlacement & { readonly store: LeaseStore },
  id: string,
): Lease | undefined {
  const tombstone = store.tombstone(id);
  if (tombstone === undefined) return undefined;
  const { terms, state, reason, quarantined } = tombstone;
  return new Lease(
    { ...terms, media: NO_MEDIA },
    { state, holding: { ranges: [], runs: [] }, deadlineMs: 0, quarantined, ended: reason },
    place,
  );
}

/** A lease that is held still. @throws DaxdError ENOENT for one that has ended. */
export function unlessEnded(lease: Lease): Lease {
  if (!hasEnded(lease.state)) return lease;
  throw new DaxdError('ENOENT', `lease ${lease.id} has ended: ask for a new one`);
}

/** @throws DaxdError ENOENT, `lease-revoked` for a lease that its holder cannot go on with. */
export function refuseOver(lease: Lease): void {
  const { id } = lease;
  if (lease.state === 'released') {
    throw new DaxdError('ENOENT', `lease ${id} was released: ask for a new one`);
  }
  if (lease.state === 'revoked') {
    throw new DaxdError('lease-revoked', `lease ${id} was revoked: ask for a new one`);
  }
  if (lease.state === 'quarantined') {
    throw new DaxdError(
      'lease-revoked',
      `lease ${id} is in quarantine: ${lease.quarantined?.reason}. Its pages stay as they are until you release it; end your DMA, then release it`,
    );
  }
}

/** For a holder that comes too late: its pages may be free at any moment. */
export function beingEnded({ id }: Lease): DaxdError {
  return new DaxdError(
    'ENOENT',
    `lease ${id} is being ended: end your DMA, then ask for a new one`,
  );
}

/** For a holder that comes too late, though nothing of it is durable yet. */
export function beingRevoked({ id }: Lease): DaxdError {
  return new DaxdError(
    'lease-revoked',
    `lease ${id} is being revoked: end your DMA, then release it`,
  );
}
