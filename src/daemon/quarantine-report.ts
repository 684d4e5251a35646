import type { QuarantineEntry } from '../http/schemas/quarantine.js';
import type { Leases } from '../lease/leases.js';
import { PAGE_SIZE } from '../lib/units.js';

/** Names what no lease speaks for. */
const UNKNOWN_ID = /^unknown:([^:]+):(\d+)$/;

/** The quarantine as `GET /v1/quarantine` shows it. */
export function quarantineEntries(leases: Leases): QuarantineEntry[] {
  const known = leases.quarantined.map(({ id, terms, pages, quarantined }) => ({
    id,
    partition: terms.partition,
    reason: quarantined?.reason ?? '',
    lease: id,
    ...(terms.path !== undefined && { path: terms.path }),
    ...(terms.client !== undefined && { client: terms.client }),
    bytes: pages * PAGE_SIZE,
  }));
  const unknown = leases.quarantine.unknown.map(({ partition, offset, length }) => ({
    id: `unknown:${partition}:${offset}`,
    partition,
    reason: 'unknown: no lease is known that it was for',
    bytes: length,
  }));
  return [...known, ...unknown];
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
