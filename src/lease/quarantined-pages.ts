import { pinnedRuns } from '../dax/pinned-runs.js';
import { DaxdError } from '../lib/errno.js';
import { partitionPoint } from '../lib/partition-point.js';
import { PAGE_SIZE } from '../lib/units.js';
import type { Memremap } from '../mm/memremap.js';
import { subtract } from './byte-ranges.js';
import type { ByteRange } from '../lib/byte-range.js';
import type { FilesystemTarget } from './lease-target.js';
import type { PageRun } from './page-runs.js';

/** Where pages lie on the backing, ascending and disjoint. */
export function placesOf(runs: readonly PageRun[]): ByteRange[] {
  return runs
    .map(({ deviceOffset: offset, length }) => ({ offset, length }))
    .toSorted((a, b) => a.offset - b.offset);
}

/** What a filesystem has quarantined, in bytes of the backing. */
export function quarantinedPlaces({ fs, range }: FilesystemTarget): ByteRange[] {
  return fs.quarantine
    .extents()
    .map(({ mediaOffset, length }) => ({ offset: range.start + mediaOffset, length }));
}

/** What of `places` is not quarantined; all ascending and disjoint. Looks at what lies there alone. */
export function unquarantined(
  places: readonly ByteRange[],
  quarantined: readonly ByteRange[],
): ByteRange[] {
  const start = places[0]?.offset ?? 0;
  const end = places.reduce((last, { offset, length }) => Math.max(last, offset + length), 0);
  const from = partitionPoint(quarantined, ({ offset, length }) => offset + length <= start);
  const to = partitionPoint(quarantined, ({ offset }) => offset < end);
  return subtract(places, quarantined.slice(from, to));
}

/** What of `a` lies in `b` too; both ascending and disjoint, and so is the result. */
export function common(a: readonly ByteRange[], b: readonly ByteRange[]): ByteRange[] {
  return subtract(a, unquarantined(a, b));
}

/**
 * Zeroes and frees what of `places` is quarantined and pinned by nobody. The caller has proof
 * that whoever it was lent to stores there no more.
 *
 * @returns the bytes that are free.
 * @throws DaxdError EROFS, ESHUTDOWN, EIO as the filesystem says; the rest is quarantined still.
 */
export async function freeIdlePlaces(
  target: FilesystemTarget,
  places: readonly ByteRange[],
  memremap: Memremap,
): Promise<number> {
  const quarantined = common(places, quarantinedPlaces(target));
  let freed = 0;
  for (const { offset, length } of subtract(quarantined, pinnedPlaces(quarantined, memremap))) {
    try {
      await target.fs.quarantine.release(offset - target.range.start, length);
      freed += length;
    } catch (error) {
      // Somebody else had it freed meanwhile, or still pins some of it.
      if (!(error instanceof DaxdError && ['EBUSY', 'ENOENT'].includes(error.code))) throw error;
    }
  }
  return freed;
}

function pinnedPlaces(places: readonly ByteRange[], memremap: Memremap): ByteRange[] {
  return places.flatMap(({ offset, length }) => {
    const firstPfn = offset / PAGE_SIZE;
    const pgmap = memremap.findPagemap(firstPfn);
    if (pgmap === undefined) return [];
    return pinnedRuns(pgmap, { firstPfn, count: length / PAGE_SIZE }).map((run) => ({
      offset: run.firstPfn * PAGE_SIZE,
      length: run.count * PAGE_SIZE,
    }));
  });
}
