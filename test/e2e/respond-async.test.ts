import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { fsck, runJudge } from '../support/ext4-image.js';
import { extract } from '../support/extract.js';
import { requires } from '../support/requires.js';
import { temporaryDirectory } from '../support/scratch-directory.js';
import { curl, partitionOffset, post, startDaxd, until } from './daxd.js';
import { watchEvents } from './events.js';

const SIZE = 16384;
const ASYNC = ['-H', 'Prefer: respond-async'];

async function setUp(t: Test) {
  const directory = temporaryDirectory(t);
  const backing = join(directory, 'pmem0.img');
  const daxd = await startDaxd(t, ['--backing', backing, '--size', '64M', '--init']);
  const { url } = daxd;
  const p1 = `${url}/v1/partitions/pmem0p1`;
  await curl('-X', 'PUT', '--data-binary', 'x'.repeat(SIZE), `${p1}/files/a`);
  const asked = { partition: 'pmem0p1', path: 'a', offset: 0, length: SIZE, access: 'read' };
  const acquire = async () =>
    (await curl(...post(`${url}/v1/leases`, { ...asked, ttl_ms: 60_000 }))).json.id;
  const release = async (id: string) => curl('-X', 'DELETE', `${url}/v1/leases/${id}`);
  const operation = async (id: string, waitMs = 0) =>
    (await curl(`${url}/v1/operations/${id}?wait_ms=${waitMs}`)).json;
  const size = async () => (await curl(`${p1}/stat/a`)).json.size;
  return { daxd, directory, backing, url, p1, acquire, release, operation, size };
}

t.test('respond-async: the change goes on when its client is gone', async (t) => {
  if (!requires(t, { commands: ['curl', 'e2fsck', 'debugfs'] })) return;
  const { daxd, directory, backing, url, p1, acquire, release, operation } = await setUp(t);
  const lease = await acquire();
  const watch = await watchEvents(t, url);
  const answer = await curl('-i', ...ASYNC, ...post(`${p1}/truncate`, { path: 'a', size: 100 }));
  t.equal(answer.status, 202);
  const [head = '', body = ''] = answer.body.split('\r\n\r\n');
  const begun = JSON.parse(body);
  t.match(head.toLowerCase(), `\r\nlocation: /v1/operations/${begun.id.toLowerCase()}`);
  t.match(head, /\r\npreference-applied: respond-async/i);
  t.match(begun, { op: 'truncate', state: 'waiting', done: false, blocked_by: [lease] });
  t.equal(begun.deadline_ms, 3_600_000);
  t.match((await watch.first('recall')).data, { operation: begun.id, lease });
  t.match(await operation(begun.id, 300), { done: false }, 'it waits on');

  await release(lease);
  const done = await operation(begun.id, 20_000);
  t.match(done, { done: true, state: 'ended', result: { size: 100, freed_bytes: 12288 } });
  t.equal(done.error, undefined);
  t.match((await watch.first('operation.ended')).data, { id: begun.id, outcome: 'done' });

  const place = await partitionOffset(url, 'pmem0p1');
  t.equal(await daxd.stop(), 0);
  const partition = extract(backing, place, join(directory, 'p1.img'));
  t.equal(fsck(partition).status, 0);
  t.match(runJudge('debugfs', ['-R', 'stat /a', partition]).output, /Size: 100\b/);
});

t.test('respond-async: an answer at once, or within the time that the client waits', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { url, p1, acquire, release } = await setUp(t);
  const punch = { path: 'a', offset: 0, length: 4096 };
  const idle = await curl('-i', ...ASYNC, ...post(`${p1}/punch-hole`, punch));
  t.equal(idle.status, 200);
  t.notMatch(idle.body, /preference-applied/i);

  const patient = ['-H', 'Prefer: respond-async, wait=20'];
  const lease = await acquire();
  const [answer] = await Promise.all([
    curl(...patient, ...post(`${p1}/zero-range`, { ...punch, offset: 4096 })),
    until(
      async () => (await curl(`${url}/v1/operations`)).json.operations,
      ([operation]) => operation?.op === 'zero-range',
    ).then(async () => release(lease)),
  ]);
  t.match(answer, { status: 200, json: { size: SIZE } });

  await acquire();
  for (const [call, json] of [
    ['truncate', { path: 'a', size: 0 }],
    ['punch-hole', { ...punch, offset: 4096 }],
    ['zero-range', { ...punch, offset: 4096 }],
    ['collapse-range', punch],
    ['insert-range', punch],
  ] as const) {
    const { status, json: body } = await curl(...ASYNC, ...post(`${p1}/${call}`, json));
    t.match({ status, ...body }, { status: 202, op: call, done: false });
  }
  const fail = { path: 'a', size: 0, on_conflict: 'fail' };
  t.match((await curl(...ASYNC, ...post(`${p1}/truncate`, fail))).json, { code: 'pages-pinned' });
});

t.test('respond-async: deadline, DELETE and drain leave the file as it was', async (t) => {
  if (!requires(t, { commands: ['curl', 'e2fsck', 'debugfs'] })) return;
  const { daxd, directory, backing, url, p1, acquire, release, operation, size } = await setUp(t);
  const lease = await acquire();
  const begin = async (more: object = {}) =>
    (await curl(...ASYNC, ...post(`${p1}/truncate`, { path: 'a', size: 0, ...more }))).json.id;

  const late = await begin({ deadline_ms: 200 });
  t.match(await operation(late, 20_000), {
    done: true,
    deadline_ms: 200,
    error: { code: 'deadline', status: 504, holders: [lease], instance: `/v1/operations/${late}` },
  });
  const deleted = await begin();
  t.equal((await curl('-X', 'DELETE', `${url}/v1/operations/${deleted}`)).status, 200);
  t.match(await operation(deleted, 20_000), { done: true, error: { code: 'cancelled' } });
  t.equal(await size(), SIZE);

  const watch = await watchEvents(t, url);
  const drained = await begin();
  const place = await partitionOffset(url, 'pmem0p1');
  const stopped = daxd.stop();
  t.equal(await watch.ended, 0);
  t.match(watch.seen().at(-1), {
    event: 'operation.ended',
    data: { id: drained, outcome: 'draining', error: { code: 'draining', status: 503 } },
  });
  await release(lease);
  t.equal(await stopped, 0);
  const partition = extract(backing, place, join(directory, 'p1.img'));
  t.equal(fsck(partition).status, 0);
  t.match(runJudge('debugfs', ['-R', 'stat /a', partition]).output, /Size: 16384\b/);
});
