import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { fsck, withLoopMount } from '../support/ext4-image.js';
import { extract } from '../support/extract.js';
import { requires } from '../support/requires.js';
import {
  curl,
  metric,
  partitionOffset,
  post,
  runVerb,
  startCurl,
  startDaxd,
  until,
} from './daxd.js';
import type { Daxd } from './daxd.js';
import { kernelImages } from './images.js';

const kernelImage = await kernelImages(t);

const FREE_COUNT = 'daxd_page_free_latency_seconds_count';
const FIRST_PAGE = {
  partition: 'pmem0p1',
  path: 'big.txt',
  offset: 0,
  length: 4096,
  access: 'read',
  ttl_ms: 60_000,
};

async function setUp(t: Test) {
  const { directory, path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image]);
  return { directory, image, daxd, p1: `${daxd.url}/v1/partitions/pmem0p1` };
}

/** The one change that waits. */
async function pendingOperation(daxd: Daxd) {
  const { operations } = await until(
    async () => (await curl(`${daxd.url}/v1/operations`)).json,
    ({ operations: list }) => list.length > 0,
  );
  return operations[0];
}

t.test('truncate: waits for a lease, refuses others, and ends with the release', async (t) => {
  if (!requires(t, { commands: ['curl', 'e2fsck', 'mount'], root: true })) return;
  const { directory, image, daxd, p1 } = await setUp(t);
  const freed = await metric(daxd.url, FREE_COUNT);
  const before = (await curl(`${p1}/stat/big.txt`)).json;
  const granted = await curl(...post(`${daxd.url}/v1/leases`, FIRST_PAGE));
  t.equal(granted.status, 201);
  const lease = granted.json;
  t.match(lease, { pages: 1, backing_path: image });
  t.strictSame(lease.extents, [
    { file_offset: 0, device_offset: before.extents[0].device_offset, length: 4096 },
  ]);
  t.equal((await curl(`${p1}/stat/big.txt`)).json.pinned_pages, 1);

  const truncate = startCurl(post(`${p1}/truncate`, { path: 'big.txt', size: 0 }));
  const operation = await pendingOperation(daxd);
  t.match(operation, { op: 'truncate', path: 'big.txt', done: false, blocked_by: [lease.id] });
  const refused = await curl(...post(`${daxd.url}/v1/leases`, FIRST_PAGE));
  t.equal(refused.status, 409);
  t.equal(refused.json.code, 'recall-conflict');
  const hello = { ...FIRST_PAGE, path: 'hello.txt' };
  const other = await curl(...post(`${daxd.url}/v1/leases`, hello));
  t.equal(other.status, 201, 'another file is not concerned');
  t.equal((await curl(`${p1}/stat/big.txt`)).json.size, before.size, 'nothing was cut yet');
  t.equal(
    await metric(daxd.url, 'daxd_layout_changes_pending{op="truncate"}'),
    1,
    'the metrics show who waits',
  );

  const poll = startCurl([`${daxd.url}/v1/operations/${operation.id}?wait_ms=20000`]);
  t.equal((await curl(...post(`${daxd.url}/v1/leases/${lease.id}/release`))).status, 200);
  const done = await truncate.answer;
  t.equal(done.status, 200);
  t.equal(done.json.size, 0);
  t.ok(done.json.waited_ms > 0, `waited_ms is ${done.json.waited_ms}`);
  t.equal(done.json.freed_bytes, before.blocks * 512);
  const { json: ended } = await poll.answer;
  t.match(ended, { done: true, state: 'ended' });
  t.strictSame(ended.blocked_by, []);
  t.equal(await metric(daxd.url, FREE_COUNT), Number(freed) + 1);
  t.equal((await curl(...post(`${daxd.url}/v1/leases/${other.json.id}/release`))).status, 200);

  const after = (await curl(`${p1}/stat/big.txt`)).json;
  t.match(after, { size: 0, blocks: 0 });
  t.strictSame(after.extents, []);
  const place = await partitionOffset(daxd.url, 'pmem0p1');
  t.equal(await daxd.stop(), 0);
  const verdict = fsck(extract(image, place, join(directory, 'p1.img')));
  t.equal(verdict.status, 0, verdict.output);
  await withLoopMount(image, `ro,noload,offset=${place[0]},sizelimit=${place[1]}`, (mounted) => {
    const stat = statSync(join(mounted, 'big.txt'));
    t.match(stat, { size: 0, blocks: 0 });
    t.equal(readFileSync(join(mounted, 'hello.txt')).length, 11);
  });
});

t.test('truncate: its client killed, the file is as it was', async (t) => {
  if (!requires(t, { commands: ['curl', 'e2fsck'] })) return;
  const { directory, image, daxd, p1 } = await setUp(t);
  const before = (await curl(`${p1}/stat/big.txt`)).json;
  const lease = (await curl(...post(`${daxd.url}/v1/leases`, FIRST_PAGE))).json;
  const truncate = startCurl(post(`${p1}/truncate`, { path: 'big.txt', size: 0 }));
  await pendingOperation(daxd);
  truncate.child.kill('SIGKILL');
  await until(
    async () => (await curl(`${daxd.url}/v1/operations`)).json.operations,
    (operations) => operations.length === 0,
  );
  const after = (await curl(`${p1}/stat/big.txt`)).json;
  t.strictSame({ ...after, pinned_pages: 0 }, before);
  t.equal(
    await metric(daxd.url, 'daxd_truncate_wait_seconds_count{op="truncate",outcome="cancelled"}'),
    1,
  );
  t.equal((await curl(...post(`${daxd.url}/v1/leases`, FIRST_PAGE))).status, 201, 'barrier down');
  const { leases } = (await curl(`${daxd.url}/v1/leases`)).json;
  for (const { id } of leases) await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${id}`);
  t.equal((await curl(`${daxd.url}/v1/leases/${lease.id}`)).json.state, 'released');

  const place = await partitionOffset(daxd.url, 'pmem0p1');
  t.equal(await daxd.stop(), 0);
  const verdict = fsck(extract(image, place, join(directory, 'p1.img')));
  t.equal(verdict.status, 0, verdict.output);
});

t.test('operations: DELETE ends the wait with cancelled', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { daxd, p1 } = await setUp(t);
  const before = (await curl(`${p1}/stat/big.txt`)).json;
  await curl(...post(`${daxd.url}/v1/leases`, FIRST_PAGE));
  const truncate = startCurl(post(`${p1}/truncate`, { path: 'big.txt', size: 5 }));
  const { id } = await pendingOperation(daxd);
  t.equal((await curl('-X', 'DELETE', `${daxd.url}/v1/operations/${id}`)).status, 200);
  const { status, json } = await truncate.answer;
  t.equal(status, 409);
  t.equal(json.code, 'cancelled');
  t.equal((await curl(`${p1}/stat/big.txt`)).json.size, before.size);
  t.match((await curl(`${daxd.url}/v1/operations/${id}`)).json, { done: true });
  t.equal((await curl(`${daxd.url}/v1/operations/none`)).status, 404);
});

t.test(
  'truncate: gives up at once or in time where it is told to, and names who holds',
  async (t) => {
    if (!requires(t, { commands: ['curl', 'e2fsck'], root: true })) return;
    const { daxd, p1 } = await setUp(t);
    const before = (await curl(`${p1}/stat/big.txt`)).json;
    const lease = (await curl(...post(`${daxd.url}/v1/leases`, FIRST_PAGE))).json;
    const truncate = async (patience: object) =>
      curl(...post(`${p1}/truncate`, { path: 'big.txt', size: 0, ...patience }));

    const atOnce = await truncate({ on_conflict: 'fail' });
    t.equal(atOnce.status, 409);
    t.match(atOnce.json, { code: 'pages-pinned', status: 409, holders: [lease.id] });
    const inTime = await truncate({ deadline_ms: 200 });
    t.equal(inTime.status, 504);
    t.match(inTime.json, { code: 'deadline', holders: [lease.id] });
    t.match(inTime.json.detail, `lease ${lease.id} after 200 ms`);
    t.strictSame(
      (await curl(`${p1}/stat/big.txt`)).json.extents,
      before.extents,
      'nothing changed',
    );
    t.strictSame((await curl(`${daxd.url}/v1/operations`)).json.operations, [], 'nothing waits');
    for (const patience of [{ on_conflict: 'fail', deadline_ms: 1 }, { deadline_ms: 0 }]) {
      t.equal((await truncate(patience)).status, 400, JSON.stringify(patience));
    }

    const verb = runVerb(daxd.url, ['punch-hole', 'big.txt', '0', '4K', '--on-conflict', 'fail']);
    t.equal(verb.exit, 1);
    t.match(verb.stderr, /pages-pinned: .*lease/);

    const patient = startCurl(
      post(`${p1}/truncate`, { path: 'big.txt', size: 0, deadline_ms: 60_000 }),
    );
    await pendingOperation(daxd);
    await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${lease.id}`);
    t.equal((await patient.answer).status, 200, 'released in time');
    t.equal((await truncate({ on_conflict: 'fail' })).status, 200, 'nobody is in the way');
    const outcomes = 'daxd_truncate_wait_seconds_count{op="truncate",outcome=';
    t.equal(await metric(daxd.url, `${outcomes}"pages-pinned"}`), 1);
    t.equal(await metric(daxd.url, `${outcomes}"deadline"}`), 1);
  },
);

t.test('holders: those of the change that gives up, each once', async (t) => {
  if (!requires(t, { commands: ['curl', 'e2fsck'], root: true })) return;
  const { daxd, p1 } = await setUp(t);
  const leases = `${daxd.url}/v1/leases`;
  const first = (await curl(...post(leases, FIRST_PAGE))).json.id;
  const second = (await curl(...post(leases, { ...FIRST_PAGE, offset: 40_960 }))).json.id;
  const change = async (op: string, terms: object) =>
    (await curl(...post(`${p1}/${op}`, { path: 'big.txt', ...terms }))).json;
  const waiting = startCurl(
    post(`${p1}/punch-hole`, { path: 'big.txt', offset: 0, length: 4096, deadline_ms: 60_000 }),
  );
  await pendingOperation(daxd);
  const beside = { offset: 40_960, length: 4096 };
  for (const terms of [{ on_conflict: 'fail' }, { deadline_ms: 100 }]) {
    const { holders } = await change('zero-range', { ...beside, ...terms });
    t.strictSame(holders, [second], 'the other change has a lease of its own in its way');
  }
  const behind = await change('truncate', { size: 0, on_conflict: 'defer', deadline_ms: 100 });
  t.match(behind, { code: 'deadline', detail: /pinned by an earlier change after 100 ms/ });
  t.strictSame(behind.holders, []);
  await curl('-X', 'DELETE', `${leases}/${first}`);
  t.equal((await waiting.answer).status, 200);
});
