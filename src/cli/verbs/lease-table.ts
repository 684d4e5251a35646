import type { LeaseView } from '../../lease/lease.js';

/** What the columns of {@link leaseRow} are called. */
export const LEASE_HEADING = [
  'ID',
  'STATE',
  'PARTITION',
  'PATH',
  'OFFSET',
  'LENGTH',
  'ACCESS',
  'PAGES',
  'LEFT',
];

/** Where a lease is found. */
export function leasePath(id = ''): string {
  return `/v1/leases/${encodeURIComponent(id)}`;
}

/** A lease as a row of a table. */
export function leaseRow(lease: LeaseView): (string | number | undefined)[] {
  const { id, state, partition, path, offset, length, access, pages } = lease;
  return [id, state, partition, path, offset, length, access, pages, lease.remaining_ttl_ms];
}
