import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { until } from '../../e2e/daxd.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';
import { openDaemon } from './set-up.js';

const P1 = '/v1/partitions/pmem0p1';
const COUNT = 5;

type TestDaemon = Awaited<ReturnType<typeof openDaemon>>;

/** A daemon with a lease of each of some files. */
async function setUp(t: Test): Promise<TestDaemon> {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const daemon = await openDaemon(t, { backing, size: '64M', init: true });
  for (let i = 0; i < COUNT; i++) {
    await daemon.put(`${P1}/files/${i}`, 'x'.repeat(4096));
    const lease = { partition: 'pmem0p1', path: `${i}`, offset: 0, length: 4096, access: 'read' };
    t.equal((await daemon.post('/v1/leases', { ...lease, ttl_ms: 60_000 })).status, 201);
  }
  return daemon;
}

/** The ids on each page. */
async function pages(daemon: TestDaemon, name: string): Promise<string[][]> {
  const found: string[][] = [];
  let cursor = '';
  do {
    const { body } = await daemon.get(`/v1/${name}?limit=2${cursor}`);
    found.push(body[name].map(({ id }: { id: string }) => id));
    cursor = body.next_cursor === undefined ? '' : `&cursor=${body.next_cursor}`;
  } while (cursor !== '');
  return found;
}

async function refusesCursors(t: Test, daemon: TestDaemon, name: string): Promise<void> {
  for (const cursor of ['', 'xx']) {
    t.match(await daemon.get(`/v1/${name}?cursor=${cursor}`), {
      status: 400,
      body: { code: 'EINVAL', detail: /is not one of daxd's/ },
    });
  }
  for (const limit of ['0', '1001', 'x']) {
    t.equal((await daemon.get(`/v1/${name}?limit=${limit}`)).status, 400);
  }
}

t.test('operations: in pages, ascending by id', async (t) => {
  const daemon = await setUp(t);
  const change = async (i: number) => daemon.post(`${P1}/truncate`, { path: `${i}`, size: 0 });
  const changes = Array.from({ length: COUNT }, (_, i) => change(i));
  await until(
    () => daemon.get('/v1/operations'),
    ({ body }) => body.operations.length === COUNT,
  );
  const found = await pages(daemon, 'operations');
  t.strictSame(
    found.map((page) => page.length),
    [2, 2, 1],
  );
  t.strictSame(found.flat(), [...new Set(found.flat())].toSorted());
  await refusesCursors(t, daemon, 'operations');
  for (const id of found.flat()) await daemon.remove(`/v1/operations/${id}`);
  await Promise.all(changes);
});

t.test('quarantine: in pages, ascending by id', async (t) => {
  const daemon = await setUp(t);
  // Not in the order of the leases.
  for (let i = COUNT - 1; i >= 0; i--) {
    const change = { path: `${i}`, size: 0, on_conflict: 'defer' };
    t.equal((await daemon.post(`${P1}/truncate`, change)).status, 200);
  }
  const found = await pages(daemon, 'quarantine');
  t.strictSame(
    found.map((page) => page.length),
    [2, 2, 1],
  );
  const { leases } = (await daemon.get('/v1/leases?state=quarantined')).body;
  t.strictSame(
    found.flat(),
    leases.map(({ id }: { id: string }) => id),
  );
  await refusesCursors(t, daemon, 'quarantine');
});
