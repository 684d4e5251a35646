import type { LeaseRecord } from '../../../src/lease/lease-record.js';
import type { StoreChange } from '../../../src/lease/lease-store.js';

/** A lease of the first page of a file, as a store keeps it. */
export function recordOf(id: string, client = 'nic0', fencingToken = 1): LeaseRecord {
  return {
    terms: {
      id,
      fencingToken,
      partition: 'pmem0p1',
      media: { partition: 'guid', filesystem: 'uuid', writtenSeconds: 1 },
      path: 'file',
      inode: 12,
      generation: 1,
      offset: 0,
      length: 4096,
      access: 'read',
      ttlMs: 10_000,
      client,
      secretHash: `hash of ${id}`,
      secretSalt: `salt of ${id}`,
      holder: { pid: 7, startTicks: 8, view: '' },
      grantedMs: 0.5,
    },
    holding: 8192,
    quarantined: undefined,
    ended: undefined,
  };
}

/** That it ended, at such a time. */
export function endOf(id: string, endedMs: number): StoreChange {
  const { terms } = recordOf(id);
  return { kind: 'tombstone', tombstone: { terms, state: 'released', reason: 'test', endedMs } };
}
