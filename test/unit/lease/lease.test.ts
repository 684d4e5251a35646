import t from 'tap';

import { Lease } from '../../../src/lease/lease.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { HandClock } from './set-up.js';
import type { LeaseTerms } from '../../../src/lease/lease-terms.js';

const P = PAGE_SIZE;

const RUNS = [{ offset: 0, deviceOffset: 50 * P, length: 3 * P }];

function setUp(terms: Partial<LeaseTerms> = {}) {
  const clock = new HandClock();
  const lease = new Lease(
    {
      id: '01J',
      fencingToken: 1,
      partition: 'pmem0p1',
      path: 'file',
      inode: 12,
      offset: 0,
      length: 3 * P,
      access: 'read',
      ttlMs: 30_000,
      grantedMs: 0,
      media: { partition: 'guid' },
      ...terms,
    },
    {
      state: 'active',
      holding: {
        ranges: [{ offset: terms.offset ?? 0, length: terms.length ?? 3 * P }],
        runs: RUNS,
      },
      deadlineMs: clock.nowMs() + 30_000,
    },
    { backingPath: '/media', clock },
  );
  return { clock, lease };
}

/** A lease as JSON, which leaves out what is undefined. */
function shown(lease: Lease): Record<string, unknown> {
  return JSON.parse(JSON.stringify(lease.view()));
}

t.test(
  'view: exactly the members of the contract, and what the holder said of itself',
  async (t) => {
    const { lease } = setUp();
    t.strictSame(shown(lease), {
      id: '01J',
      fencing_token: 1,
      state: 'active',
      partition: 'pmem0p1',
      path: 'file',
      offset: 0,
      length: 3 * P,
      access: 'read',
      ttl_ms: 30_000,
      remaining_ttl_ms: 30_000,
      pages: 3,
      ranges: [{ offset: 0, length: 3 * P }],
      backing_path: '/media',
      extents: [{ file_offset: 0, device_offset: 50 * P, length: 3 * P }],
    });
    const raw = setUp({
      path: undefined,
      inode: undefined,
      client: 'me',
      holder: { pid: 4, startTicks: 5, view: '' },
    });
    const view = shown(raw.lease);
    t.notOk('path' in view, 'a raw lease has no path');
    t.match(view, { client: 'me', pid: 4, pid_start: 5 });
  },
);

t.test('view: the rest of the ttl runs down, and is 0 when the lease is not active', async (t) => {
  const { clock, lease } = setUp();
  clock.advance(0.5);
  t.equal(lease.view().remaining_ttl_ms, 29_999, 'never more than there is');
  clock.advance(40_000);
  t.equal(lease.view().remaining_ttl_ms, 0);
  lease.moveTo('suspect');
  t.equal(lease.view().remaining_ttl_ms, 0);
  lease.moveTo('released');
  t.throws(() => {
    lease.moveTo('active');
  }, InvariantError);
  t.throws(() => {
    lease.keep([], []);
  }, InvariantError);
});

t.test('generation: grows with what is kept of it, and with nothing else', async (t) => {
  const { clock, lease } = setUp();
  const seen = [lease.generation];
  const changes = [
    () => {
      lease.moveTo('suspect');
    },
    () => {
      lease.moveTo('active');
    },
    () => {
      lease.keep([{ offset: 0, length: P }], lease.runs);
    },
    () => {
      lease.quarantine({ cause: 'revoked', reason: 'one', isRevoked: true });
    },
    () => {
      lease.quarantine({ cause: 'deferred', reason: 'two', isRevoked: true });
    },
    () => {
      lease.end('revoked', 'fenced');
    },
  ];
  for (const change of changes) {
    change();
    seen.push(lease.generation);
  }
  t.strictSame(seen, [1, 2, 3, 4, 5, 6, 7]);
  clock.advance(60_000);
  lease.view();
  t.equal(lease.generation, 7);
});

t.test('view: extents are clipped to the bytes that are lent', async (t) => {
  const { lease } = setUp({ offset: 100, length: 2 * P });
  t.strictSame(lease.view().extents, [
    { file_offset: 100, device_offset: 50 * P + 100, length: 2 * P },
  ]);
  t.equal(lease.view().pages, 3);
});

t.test('view: ranges left on one run, and a range over several runs with a hole', async (t) => {
  const { lease } = setUp();
  lease.keep(
    [
      { offset: 10, length: 5 },
      { offset: 20, length: P },
      { offset: 2 * P + 1, length: 2 },
    ],
    lease.runs,
  );
  t.strictSame(lease.view().extents, [
    { file_offset: 10, device_offset: 50 * P + 10, length: 5 },
    { file_offset: 20, device_offset: 50 * P + 20, length: P },
    { file_offset: 2 * P + 1, device_offset: 52 * P + 1, length: 2 },
  ]);
  lease.keep(
    [{ offset: 5, length: 10 * P }],
    [
      { offset: 0, deviceOffset: 50 * P, length: P },
      { offset: P, deviceOffset: 70 * P, length: P },
      { offset: 10 * P, deviceOffset: 90 * P, length: P },
    ],
  );
  t.strictSame(lease.view().extents, [
    { file_offset: 5, device_offset: 50 * P + 5, length: P - 5 },
    { file_offset: P, device_offset: 70 * P, length: P },
    { file_offset: 10 * P, device_offset: 90 * P, length: 5 },
  ]);
  t.equal(lease.pages, 3);
});
