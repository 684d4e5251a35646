import { unknownCursor } from '../http/page.js';
import type { QuarantineEntry } from '../http/schemas/quarantine.js';
import type { UnknownPlace } from '../lease/lease-quarantine.js';
import type { Lease } from '../lease/lease.js';
import type { Leases } from '../lease/leases.js';
import { isSortableId } from '../lib/sortable-id.js';
import { PAGE_SIZE } from '../lib/units.js';

/** Names what no lease speaks for. */
const UNKNOWN_ID = /^unknown:([^:]+):(\d+)$/;

/**
 * The quarantine as `GET /v1/quarantine` shows it, ascending by id, from the first after `cursor`.
 *
 * @throws DaxdError EINVAL for a cursor that names none, once it is run.
 */
export function* quarantineEntries(leases: Leases, cursor?: string): Generator<QuarantineEntry> {
  if (cursor !== undefined && !isSortableId(cursor) && !UNKNOWN_ID.test(cursor)) {
    throw unknownCursor(cursor);
  }
  const unknown = leases.quarantine.unknown.map((place) => ({ id: unknownId(place), place }));
  const rest = [...leases.quarantined, ...unknown]
    .filter(({ id }) => id > (cursor ?? ''))
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
  for (const one of rest) yield 'place' in one ? shownPlace(one.place) : shownLease(one);
}

function shownLease({ id, terms, pages, quarantined }: Lease): QuarantineEntry {
  return {
    id,
    partition: terms.partition,
    reason: quarantined?.reason ?? '',
    lease: id,
    ...(terms.path !== undefined && { path: terms.path }),
    ...(terms.client !== undefined && { client: terms.client }),
    bytes: pages * PAGE_SIZE,
  };
}

function shownPlace(place: UnknownPlace): QuarantineEntry {
  return {
    id: unknownId(place),
    partition: place.partition,
    reason: 'unknown: no lease is known that it was for',
    bytes: place.length,
  };
}

function unknownId({ partition, offset }: UnknownPlace): string {
  return `unknown:${partition}:${offset}`;
}

/**
 * Lets an entry go on somebody's word.
 *
 * @throws DaxdError ENOENT for what is not in quarantine, and what the end of a lease says.
 */
export async function attestEntry(leases: Leases, id: string, reason: string): Promise<void> {
  const [, partition, offset] = UNKNOWN_ID.exec(id) ?? [];
  if (partition !== undefined) {
    await leases.quarantine.attest(partition, Number(offset));
    return;
  }
  await leases.attest(id, reason);
}
