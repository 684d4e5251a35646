import { counted } from '../lib/counted.js';
import { DaxdError } from '../lib/errno.js';
import { coalesce, pagesAround, subtract } from './byte-ranges.js';
import type { ByteRange } from '../lib/byte-range.js';
import { mountedTarget } from './lease-place.js';
import type { FilesystemTarget, LeaseTargets } from './lease-target.js';
import type { Lease } from './lease.js';
import { clipRuns } from './page-runs.js';
import { common, placesOf, quarantinedPlaces, unquarantined } from './quarantined-pages.js';

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
  lease: Lease,
  changed: ChangedBytes,
): ByteRange[] {
  const places = placesAt(lease, changed);
  if (lease.quarantined?.cause !== 'deferred' || places.length === 0) return places;
  const target = mountedTarget(targets, lease.terms.partition);
  return target === undefined ? [] : unquarantined(places, quarantinedPlaces(target));
}

/**
 * What tells the leases in the way of a change from those of the same bytes whose pages there have
 * left the file that is on `target`. For leases that pin one there; good until the next await.
 */
export function inTheWayOf(
  changed: ChangedBytes,
  target: FilesystemTarget | undefined,
): (lease: Lease) => boolean {
  const isBlocking = waysOn(target);
  return (lease) => isBlocking(lease, changed);
}

/** As {@link inTheWayOf}, for many changes: the quarantine is looked through once at most. */
export function waysOn(
  target: FilesystemTarget | undefined,
): (lease: Lease, changed: ChangedBytes) => boolean {
  let quarantined: readonly ByteRange[] | undefined;
  return (lease, changed) => {
    if (lease.quarantined?.cause !== 'deferred' || target === undefined) return true;
    quarantined ??= quarantinedPlaces(target);
    return unquarantined(placesAt(lease, changed), quarantined).length > 0;
  };
}

/**
 * What gives the ranges of a lease but for those whose pages have left the file that is on
 * `target`. Good until the next await.
 */
export function rangesInFileOn(
  target: FilesystemTarget | undefined,
): (lease: Lease) => readonly ByteRange[] {
  let quarantined: readonly ByteRange[] | undefined;
  return ({ quarantined: why, ranges, runs }) => {
    if (why?.cause !== 'deferred' || target === undefined) return ranges;
    const places = (quarantined ??= quarantinedPlaces(target));
    const left = runs.flatMap(({ offset, deviceOffset, length }) =>
      common([{ offset: deviceOffset, length }], places).map((place) => ({
        offset: offset + place.offset - deviceOffset,
        length: place.length,
      })),
    );
    return subtract(ranges, left);
  };
}

function placesAt({ runs }: Lease, changed: ChangedBytes): ByteRange[] {
  const { from, to } = pagesAround(changed);
  return placesOf(clipRuns(runs, [{ offset: from, length: to - from }]));
}

/**
 * Checks that the filesystem may keep what leases have in the way of a change, for where nothing
 * is to be expected that frees it: else their holders lose it, and the change is refused. The room
 * is kept for it: others find theirs taken by what is about to come, too.
 *
 * @returns what ends that; to be called once the change has ended.
 * @throws DaxdError `quarantine-full`.
 */
export function reserveRoomFor(
  targets: LeaseTargets,
  partition: string,
  leases: readonly Lease[],
  change: ChangedBytes & { readonly id: string },
): () => void {
  const target = mountedTarget(targets, partition);
  if (target === undefined) return () => {};
  // One page may be in several leases.
  const places = coalesce(leases.flatMap((lease) => placesInTheWay(targets, lease, change)));
  const bytes = places.reduce((sum, { length }) => sum + length, 0);
  const { quarantine } = target.fs;
  const { capBytes } = quarantine;
  const keptBytes = quarantine.bytes + quarantine.reservedBytes;
  if (keptBytes + bytes <= capBytes) return quarantine.reserve(change.id, bytes);
  throw new DaxdError(
    'quarantine-full',
    `${bytes} bytes of ${counted(leases.length, 'lease')} would be quarantined beside ${keptBytes}, ${capBytes} may be: no lease is taken, and the file is unchanged; release quarantined ranges, or wait for the pages`,
  );
}
