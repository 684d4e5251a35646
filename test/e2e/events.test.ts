import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { requires } from '../support/requires.js';
import { temporaryDirectory } from '../support/scratch-directory.js';
import { curl, metric, post, startCurl, startDaxd } from './daxd.js';
import { watchEvents } from './events.js';

const ASKED = {
  partition: 'pmem0p1',
  path: 'a',
  offset: 0,
  length: 16384,
  access: 'read',
  ttl_ms: 60_000,
};

async function setUp(t: Test) {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const daxd = await startDaxd(t, ['--backing', backing, '--size', '64M', '--init']);
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
  await curl('-X', 'PUT', '--data-binary', 'x'.repeat(16384), `${p1}/files/a`);
  const acquire = async (more: object = {}) =>
    (await curl(...post(`${daxd.url}/v1/leases`, { ...ASKED, ...more }))).json;
  const release = async (id: string) => curl('-X', 'DELETE', `${daxd.url}/v1/leases/${id}`);
  return { daxd, p1, acquire, release };
}

t.test('events: a truncate recalls a lease, which ends it', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { daxd, p1, acquire, release } = await setUp(t);
  const watch = await watchEvents(t, daxd.url);
  t.equal(await metric(daxd.url, 'daxd_sse_clients'), 1);
  const lease = await acquire({ client: 'nic0' });
  t.match(await watch.first('lease.granted', lease.id), {
    data: { state: 'active', partition: 'pmem0p1', path: 'a', client: 'nic0', length: 16384 },
  });
  await curl(...post(`${daxd.url}/v1/leases/${lease.id}/renew`));

  const asked = { path: 'a', size: 8192, deadline_ms: 30_000 };
  const truncate = startCurl(post(`${p1}/truncate`, asked));
  const recall = await watch.first('recall', lease.id);
  t.match(recall.data, { op: 'truncate', client: 'nic0' });
  const { deadline_ms: leftMs } = recall.data;
  t.ok(leftMs > 20_000 && leftMs <= 30_000, 'what is left of its time');
  t.strictSame(recall.data.ranges, [{ offset: 8192, length: 8192 }], 'what it waits for, no more');
  const { operations } = (await curl(`${daxd.url}/v1/operations`)).json;
  t.equal(recall.data.operation, operations[0].id);
  await curl(...post(`${daxd.url}/v1/leases/${lease.id}/release`, { ranges: recall.data.ranges }));
  t.equal((await truncate.answer).status, 200, 'the part that was recalled was enough');
  t.match(await watch.first('operation.ended'), {
    data: { id: recall.data.operation, outcome: 'done' },
  });
  await release(lease.id);
  t.match(await watch.first('lease.released'), { data: { reason: 'asked for' } });
  t.strictSame(
    watch.seen().map(({ event }) => event),
    [
      'lease.granted',
      'operation.started',
      'recall',
      'lease.shrunk',
      'operation.ended',
      'lease.released',
    ],
    'one for each change, none for the renewal',
  );

  t.equal((await curl(...post(`${p1}/truncate`, { path: 'a', size: 4096 }))).status, 200);
  await acquire({ path: 'none' });
  await watch.first('lease.granted', (await acquire({ length: 4096 })).id);
  t.equal(watch.seen().length, 7, 'nothing of what waits for nobody and what is refused');
});

t.test('events: expiry and renewal, of one lease and of one client', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { daxd, p1, acquire, release } = await setUp(t);
  const all = await watchEvents(t, daxd.url);
  const nic = await watchEvents(t, daxd.url, '?client=nic0');
  const lease = await acquire({ client: 'nic0', ttl_ms: 3_000 });
  const other = await acquire({ client: 'nic1' });
  const own = await watchEvents(t, daxd.url, `?lease=${other.id}`);
  await all.first('lease.lapsed', lease.id);
  await curl(...post(`${daxd.url}/v1/leases/${lease.id}/renew`));
  t.match(await nic.first('lease.renewed'), { data: { lease: lease.id, state: 'active' } });
  const gone = startCurl(post(`${p1}/truncate`, { path: 'a', size: 0 }));
  await own.first('recall', other.id);
  await nic.first('recall', lease.id);
  await all.first('recall', lease.id);
  await release(other.id);
  await release(lease.id);
  t.equal((await gone.answer).status, 200);
  await nic.first('lease.released');
  await own.first('lease.released');
  t.strictSame(
    nic.seen().map(({ event }) => event),
    ['lease.granted', 'lease.lapsed', 'lease.renewed', 'recall', 'lease.released'],
  );
  t.strictSame(
    own.seen().map(({ event }) => event),
    ['recall', 'lease.released'],
  );
});

t.test('events: a list and a watch from its cursor leave no gap', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { daxd, acquire } = await setUp(t);
  const before = await acquire();
  const { leases, events_cursor: cursor } = (await curl(`${daxd.url}/v1/leases`)).json;
  t.match(leases, [{ id: before.id }]);
  const between = await acquire();
  const watch = await watchEvents(t, daxd.url, `?since=${cursor}`);
  const { id } = await watch.first('lease.granted');
  t.match(watch.seen(), [{ data: { lease: between.id } }], 'what came behind the list');
  t.equal(watch.seen().length, 1, 'once');
  const after = await acquire();
  await watch.first('lease.granted', after.id);

  const header = ['-H', `Last-Event-ID: ${id}`];
  const again = await watchEvents(t, daxd.url, `?since=${cursor}`, header);
  await again.first('lease.granted');
  t.match(again.seen(), [{ data: { lease: after.id } }], 'the header stands over the query');
  t.equal(again.seen().length, 1);
  const foreign = await watchEvents(t, daxd.url, '?since=01ARZ3NDEKTSV4RRFFQ69G5FAV-7');
  t.match(await foreign.first('resync'), {
    id: (await curl(`${daxd.url}/v1/operations`)).json.events_cursor,
  });
  const last = await acquire();
  await foreign.first('lease.granted', last.id);
  t.equal(foreign.seen().length, 2);
});

t.test('events: the streams end with the daemon, behind what it refused', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { daxd, p1, acquire } = await setUp(t);
  const watch = await watchEvents(t, daxd.url);
  await acquire();
  const truncate = startCurl(post(`${p1}/truncate`, { path: 'a', size: 0 }));
  await watch.first('recall');
  const stopped = daxd.stop();
  t.equal((await truncate.answer).status, 503);
  t.equal(await watch.ended, 0, 'curl saw the end of the body');
  t.match(watch.seen().at(-1), { event: 'operation.ended', data: { outcome: 'draining' } });
  t.equal(await stopped, 0);
});
