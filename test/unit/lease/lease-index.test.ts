import t from 'tap';

import { LeaseIndex } from '../../../src/lease/lease-index.js';
import { Lease } from '../../../src/lease/lease.js';
import { HOLDERS_NAMED_MAX, LIST_PIECES_MAX, LIST_SCAN_MAX } from '../../../src/lease/limits.js';
import type { PageRun } from '../../../src/lease/page-runs.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { HandClock } from './set-up.js';
import type { LeaseTerms } from '../../../src/lease/lease-terms.js';

const P = PAGE_SIZE;
const FIRST_PAGE: readonly PageRun[] = [{ offset: 0, deviceOffset: 0, length: P }];

function setUp() {
  const index = new LeaseIndex();
  const clock = new HandClock();
  let count = 0;
  const add = (terms: Partial<LeaseTerms> = {}, runs: readonly PageRun[] = FIRST_PAGE): Lease => {
    count++;
    const lease = new Lease(
      {
        id: String(count).padStart(6, '0'),
        fencingToken: count,
        partition: 'pmem0p1',
        path: 'file',
        inode: 12,
        offset: 0,
        length: P,
        access: 'read',
        ttlMs: 1000,
        grantedMs: 0,
        media: { partition: 'guid' },
        ...terms,
      },
      { state: 'active', holding: { ranges: [{ offset: 0, length: P }], runs }, deadlineMs: 0 },
      { backingPath: '/media', clock },
    );
    index.add(lease);
    return lease;
  };
  return { index, add };
}

const ids = (leases: readonly Lease[]): string[] => leases.map(({ id }) => id);

t.test('overlapping: by pages, per inode and partition, without the holes', async (t) => {
  const { index, add } = setUp();
  const sparse = add({}, [...FIRST_PAGE, { offset: 2 * P, deviceOffset: 9 * P, length: P }]);
  add({ inode: 13 });
  const raw = add({ path: undefined, inode: undefined, partition: 'pmem0p2' });
  t.strictSame(
    index.overlapping('pmem0p1', 12, { from: P - 1, to: P }),
    [sparse.id],
    'a byte of the page',
  );
  t.strictSame(index.overlapping('pmem0p1', 12, { from: P, to: 2 * P }), [], 'a hole pins nothing');
  t.strictSame(
    index.overlapping('pmem0p1', 12, { from: 0, to: Infinity }),
    [sparse.id],
    'named once',
  );
  t.strictSame(index.overlapping('pmem0p1', 12, { from: 5, to: 5 }), [], 'no bytes');
  t.strictSame(
    index.overlapping('pmem0p2', 12, { from: 0, to: Infinity }),
    [],
    'another partition',
  );
  t.strictSame(index.overlapping('pmem0p2', undefined, { from: 0, to: P }), [raw.id]);
  index.delete(sparse);
  t.strictSame(index.overlapping('pmem0p1', 12, { from: 0, to: Infinity }), []);
});

t.test('restore: as if they were added one by one', async (t) => {
  const { index: added, add } = setUp();
  const leases = [
    add({}, [...FIRST_PAGE, { offset: 2 * P, deviceOffset: 9 * P, length: P }]),
    add({ inode: 13, path: 'other' }),
    add({}, []),
    add({ partition: 'pmem0p2', path: undefined, inode: undefined }),
    add(),
  ];
  const restored = new LeaseIndex();
  restored.restore(leases);
  for (const index of [restored, added]) {
    t.equal(index.size, 5);
    t.strictSame(index.all(), leases);
    t.equal(index.countOn('pmem0p1'), 4);
    t.equal(index.countOnFiles('pmem0p1'), 4);
    t.equal(index.countOn('pmem0p2'), 1);
    t.equal(index.countOnFiles('pmem0p2'), 0, 'a raw lease');
    t.strictSame(index.list({ partition: 'pmem0p1', path: 'other' }).leases, [leases[1]]);
    t.strictSame(index.overlapping('pmem0p1', 12, { from: 0, to: Infinity }), ['000001', '000005']);
    t.strictSame(index.overlapping('pmem0p1', 12, { from: 2 * P, to: 3 * P }), ['000001']);
    t.strictSame(index.overlapping('pmem0p2', undefined, { from: 0, to: P }), ['000004']);
    for (const lease of leases) index.delete(lease);
    t.equal(index.size, 0);
    t.equal(index.countOnFiles('pmem0p1'), 0);
  }
});

t.test('overlapping: names a bounded number of holders', async (t) => {
  const { index, add } = setUp();
  for (let i = 0; i < HOLDERS_NAMED_MAX + 5; i++) add();
  t.equal(index.overlapping('pmem0p1', 12, { from: 0, to: P }).length, HOLDERS_NAMED_MAX);
});

t.test('repin: the index follows the pages', async (t) => {
  const { index, add } = setUp();
  const lease = add({}, [{ offset: 0, deviceOffset: 0, length: 3 * P }]);
  index.repin(lease, () => {
    lease.keep([{ offset: 2 * P, length: P }], [{ offset: 2 * P, deviceOffset: 2 * P, length: P }]);
  });
  t.strictSame(index.overlapping('pmem0p1', 12, { from: 0, to: 2 * P }), []);
  t.strictSame(index.overlapping('pmem0p1', 12, { from: 2 * P, to: 3 * P }), [lease.id]);
});

t.test('list: conditions hold together, and pages follow each other', async (t) => {
  const { index, add } = setUp();
  const a = add();
  const b = add({ path: 'other', inode: 13 });
  const c = add();
  const d = add({ partition: 'pmem0p3', path: 'file' });
  t.strictSame(index.list({}).leases, [a, b, c, d]);
  t.strictSame(index.list({ partition: 'pmem0p1' }).leases, [a, b, c]);
  t.strictSame(index.list({ partition: 'pmem0p1', path: 'file' }).leases, [a, c]);
  t.strictSame(index.list({ path: 'file' }).leases, [a, c, d], 'on every partition');
  t.strictSame(index.list({ partition: 'nope' }).leases, []);

  const first = index.list({ limit: 3 });
  t.strictSame(ids(first.leases), ids([a, b, c]));
  const second = index.list({ limit: 3, cursor: first.nextCursor });
  t.strictSame(second, { leases: [d] }, 'the last page has no cursor');
  t.strictSame(index.list({ limit: 4 }), { leases: [a, b, c, d] }, 'exactly one page');

  b.moveTo('suspect');
  t.strictSame(index.list({ state: 'suspect' }).leases, [b]);
  index.delete(b);
  t.strictSame(index.list({ state: 'suspect' }).leases, []);
  t.equal(index.countOn('pmem0p1'), 2);
});

t.test('list: a limit below 1 is refused', async (t) => {
  const { index } = setUp();
  for (const limit of [0, -1, 0.5, NaN]) {
    const refusal = new DaxdError('EINVAL', `limit ${limit} is not a whole number of 1 or more`);
    t.throws(() => index.list({ limit }), refusal);
  }
});

t.test('list: looks at a bounded number and goes on from there', async (t) => {
  const { index, add } = setUp();
  for (let i = 0; i < LIST_SCAN_MAX; i++) add();
  const last = add();
  last.moveTo('suspect');
  const first = index.list({ state: 'suspect' });
  t.strictSame(first.leases, []);
  t.strictSame(index.list({ state: 'suspect', cursor: first.nextCursor }).leases, [last]);
});

t.test('list: a page of leases in very many pieces is short', async (t) => {
  const { index, add } = setUp();
  const runs = Array.from({ length: LIST_PIECES_MAX / 2 }, (_, i) => ({
    offset: 2 * i * P,
    deviceOffset: 2 * i * P,
    length: P,
  }));
  const leases = [add({}, runs), add({}, runs), add({}, runs), add()];
  const first = index.list({});
  t.strictSame(ids(first.leases), ids(leases.slice(0, 2)));
  t.strictSame(index.list({ cursor: first.nextCursor }), { leases: leases.slice(2) });
  t.equal(index.list({ limit: 1 }).leases.length, 1);
});

t.test('add, delete: a lease is there once', async (t) => {
  const { index, add } = setUp();
  const lease = add();
  t.throws(() => {
    index.add(lease);
  }, InvariantError);
  index.delete(lease);
  t.throws(() => {
    index.delete(lease);
  }, InvariantError);
  t.equal(index.size, 0);
});
