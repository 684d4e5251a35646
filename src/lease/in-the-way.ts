import { PAGE_SIZE } from '../lib/units.js';
import { subtract } from './byte-ranges.js';
import type { ByteRange } from './byte-ranges.js';
import { mountedTarget } from './lease-place.js';
import type { LeaseTargets } from './lease-target.js';
import type { Lease } from './lease.js';
import { clipRuns } from './page-runs.js';
import { placesOf, quarantinedPlaces } from './quarantined-pages.js';

/** The bytes of a file that change, half open; `to` may be Infinity. */
interface ChangedBytes {
  readonly from: number;
  readonly to: number;
}

/**
 * Where the pages of a lease lie that a change of its file waits for: of a lease that another
 * change went on without, those that are in the file still.
 */
export function placesInTheWay(
  targets: LeaseTargets,
  { terms, runs, quarantined }: Lease,
  { from, to }: ChangedBytes,
): ByteRange[] {
  const offset = Math.floor(from / PAGE_SIZE) * PAGE_SIZE;
  const length = Math.ceil(to / PAGE_SIZE) * PAGE_SIZE - offset;
  const places = placesOf(clipRuns(runs, [{ offset, length }]));
  if (quarantined?.cause !== 'deferred' || places.length === 0) return places;
  const target = mountedTarget(targets, terms.partition);
  return target === undefined ? [] : subtract(places, quarantinedPlaces(target));
}
