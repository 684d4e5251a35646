/**
 * A change that was answered 202 outlives daxd: after a kill, and after an orderly end, it waits
 * on under its id, with its barrier up before anybody is served. One whose client waits dies
 * with the connection.
 */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { runJudge } from '../support/ext4-image.js';
import { requires } from '../support/requires.js';
import { curl, post, startCurl, startDaxd, startRefused, until } from './daxd.js';
import type { Daxd } from './daxd.js';
import { judge, leaseHalf } from './half-leased.js';

const P = 4096;
const JUDGES = { commands: ['curl', 'e2fsck', 'debugfs'] };
const ASYNC = ['-H', 'Prefer: respond-async'];

async function setUp(t: Test) {
  const image = join(t.testdir({}), 'pmem0.img');
  const daxd = await startDaxd(t, ['--backing', image, '--size', '64M', '--init']);
  const half = await leaseHalf(t, daxd, { access: 'read' });
  return { image, daxd, ...half };
}

async function begin(daxd: Daxd, call: string, asked: object) {
  const body = { path: 'a', ...asked };
  const answer = await curl(...ASYNC, ...post(`${p1(daxd)}/${call}`, body));
  if (answer.status !== 202) throw new Error(JSON.stringify(answer));
  return answer.json;
}

async function operation({ url }: Daxd, id: string, waitMs = 0) {
  return (await curl(`${url}/v1/operations/${id}?wait_ms=${waitMs}`)).json;
}

async function waiting({ url }: Daxd): Promise<string[]> {
  const { operations } = (await curl(`${url}/v1/operations`)).json;
  return operations.map(({ id }: { id: string }) => id);
}

async function acquire({ url }: Daxd, offset: number) {
  const asked = { partition: 'pmem0p1', path: 'a', offset, length: P, access: 'read' };
  return curl(...post(`${url}/v1/leases`, { ...asked, ttl_ms: 60_000 }));
}

async function release({ url }: Daxd, id: string): Promise<void> {
  const { status } = await curl('-X', 'DELETE', `${url}/v1/leases/${id}`);
  if (status !== 204) throw new Error(`release: ${status}`);
}

async function sizeOf(daxd: Daxd): Promise<number> {
  return (await curl(`${p1(daxd)}/stat/a`)).json.size;
}

function p1({ url }: Daxd): string {
  return `${url}/v1/partitions/pmem0p1`;
}

/** Ends the daemon, has e2fsck look, and gives what debugfs says of the file. */
async function judged(t: Test, daxd: Daxd, image: string, place: [number, number]) {
  t.equal(await daxd.stop(), 0);
  return runJudge('debugfs', ['-R', 'stat /a', judge(t, image, place)]).output;
}

for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
  t.test(`${signal}: the operation waits on, and ends with the release`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const { image, daxd, lease, place } = await setUp(t);
    const asked = { size: 100, deadline_ms: 600_000 };
    const begun = await begin(daxd, 'truncate', asked);
    await daxd.stop(signal);

    const next = await startDaxd(t, ['--backing', image]);
    const { waited_ms: before, ...same } = begun;
    const now = await operation(next, begun.id);
    t.match(now, { ...same, state: 'waiting', done: false, blocked_by: [lease.id] });
    t.ok(now.waited_ms > before);
    t.strictSame(await waiting(next), [begun.id]);
    const { json: held } = await curl(`${next.url}/v1/leases/${lease.id}`);
    t.match(held, { state: 'reclaimable', recalls: [{ operation: begun.id, op: 'truncate' }] });
    t.ok(held.recalls[0].deadline_ms <= 600_000 - now.waited_ms, 'its time went on');
    t.match((await acquire(next, 9 * P)).json, { status: 409, code: 'recall-conflict' });
    t.equal(await sizeOf(next), 16 * P);
    t.match(await operation(next, begun.id, 200), { done: false }, 'it waits');

    await release(next, lease.id);
    const done = await operation(next, begun.id, 20_000);
    t.match(done, { done: true, result: { size: 100, freed_bytes: 15 * P } });
    t.equal((await acquire(next, 0)).status, 201);
    await next.stop('SIGKILL');
    const last = await startDaxd(t, ['--backing', image]);
    // Where its bytes begin in full pages only the file could tell.
    const { offset: _, ...outcome } = done;
    t.match(await operation(last, begun.id), outcome, 'how it ended is remembered');
    t.strictSame(await waiting(last), []);
    t.match(await judged(t, last, image, place), /Size: 100\b/);
  });
}

t.test('restart: DELETE cancels it for good', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, daxd, lease, place } = await setUp(t);
  const { id } = await begin(daxd, 'punch-hole', { offset: 8 * P, length: P });
  await daxd.stop('SIGKILL');
  const busy = createServer().listen(0, '127.0.0.1');
  await once(busy, 'listening');
  const address = busy.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const refused = startRefused(['--backing', image, '--listen', `127.0.0.1:${port}`]);
  busy.close();
  t.match(refused, { exit: 1, stderr: /EBUSY/ }, 'a start that fails leaves it to the next one');
  const next = await startDaxd(t, ['--backing', image]);
  t.equal((await curl('-X', 'DELETE', `${next.url}/v1/operations/${id}`)).status, 200);
  t.match(await operation(next, id, 20_000), { done: true, error: { code: 'cancelled' } });
  t.equal((await acquire(next, 8 * P)).status, 201, 'the barrier is down');
  await next.stop('SIGKILL');

  const last = await startDaxd(t, ['--backing', image]);
  t.strictSame(await waiting(last), []);
  t.match(await operation(last, id), { done: true, error: { code: 'cancelled', status: 409 } });
  await release(last, lease.id);
  t.match(await judged(t, last, image, place), /Size: 65536\b[^]*\(0-15\)/);
});

t.test('restart: several go on in their order, each once', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, daxd, lease, place } = await setUp(t);
  const range = { offset: 8 * P, length: P };
  const ids: string[] = [];
  for (const [call, asked] of [
    ['collapse-range', range],
    ['collapse-range', range],
    ['insert-range', range],
    ['zero-range', { ...range, keep_size: true }],
    ['truncate', { size: 20 * P }],
  ] as const) {
    ids.push((await begin(daxd, call, asked)).id);
  }
  await daxd.stop('SIGKILL');
  let next = await startDaxd(t, ['--backing', image]);
  t.strictSame(await waiting(next), ids);
  const later = await begin(next, 'punch-hole', { offset: 9 * P, length: P });
  t.ok(later.id > (ids.at(-1) ?? ''), 'what comes later has a later id');
  await next.stop('SIGKILL');
  next = await startDaxd(t, ['--backing', image]);
  t.strictSame(await waiting(next), [...ids, later.id]);
  await release(next, lease.id);
  const sizes: number[] = [];
  for (const id of ids) {
    sizes.push((await operation(next, id, 20_000)).result.size);
  }
  t.strictSame(
    sizes.map((size) => size / P),
    [15, 14, 15, 15, 20],
  );
  t.match(await operation(next, later.id, 20_000), { done: true, result: { freed_bytes: P } });
  t.match(await judged(t, next, image, place), /Size: 81920\b/);
});

t.test('restart: a change whose client waits is no operation afterwards', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, daxd, lease, place } = await setUp(t);
  const change = startCurl(post(`${p1(daxd)}/truncate`, { path: 'a', size: 0 }));
  const [id = ''] = await until(
    async () => waiting(daxd),
    (ids) => ids.length > 0,
  );
  await daxd.stop('SIGKILL');
  await change.answer;
  const next = await startDaxd(t, ['--backing', image]);
  t.strictSame(await waiting(next), []);
  t.match(await operation(next, id), { status: 404 });
  t.equal((await acquire(next, 8 * P)).status, 201, 'no barrier is up');
  await release(next, lease.id);
  t.match(await judged(t, next, image, place), /Size: 65536\b/);
});

t.test('restart: without its partition it waits, and ends where its file is gone', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, daxd, lease, place } = await setUp(t);
  const cut = await begin(daxd, 'truncate', { size: P });
  const late = await begin(daxd, 'truncate', { size: 0, deadline_ms: 1_500 });
  await daxd.stop('SIGKILL');

  const bare = await startDaxd(t, ['--backing', image, '--mount', 'none']);
  t.match(await operation(bare, cut.id), { state: 'waiting', blocked_by: [lease.id] });
  t.match(await operation(bare, late.id, 20_000), {
    done: true,
    error: { code: 'deadline', holders: [lease.id] },
  });
  await release(bare, lease.id);
  const free = await operation(bare, cut.id);
  t.match(free, { state: 'waiting' });
  t.strictSame(free.blocked_by, []);
  t.equal(await bare.stop(), 0, 'an orderly end keeps it, too');

  const next = await startDaxd(t, ['--backing', image, '--mount', 'none']);
  const poll = operation(next, cut.id, 20_000);
  t.equal((await curl(...post(`${p1(next)}/mount`))).status, 200);
  t.match(await poll, { done: true, result: { size: P } });
  t.equal((await acquire(next, 0)).status, 201);
  const gone = await begin(next, 'truncate', { size: 0 });
  const { leases } = (await curl(`${next.url}/v1/leases`)).json;
  await next.stop('SIGKILL');

  const other = await startDaxd(t, ['--backing', image, '--mount', 'none']);
  for (const { id } of leases) await release(other, id);
  t.equal((await curl(...post(`${p1(other)}/format`, { force: true }))).status, 200);
  t.equal((await curl(...post(`${p1(other)}/mount`))).status, 200);
  t.match(await operation(other, gone.id, 20_000), {
    done: true,
    error: { code: 'ENOENT', detail: /pmem0p1 is of other media/ },
  });
  t.equal(await other.stop(), 0);
  judge(t, image, place);
});

t.test('restart: defer and revoke go on as what they were', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, daxd, lease, place } = await setUp(t);
  const punch = { offset: 8 * P, length: P };
  await begin(daxd, 'punch-hole', punch);
  const defer = await begin(daxd, 'punch-hole', { ...punch, on_conflict: 'defer' });
  const revoke = await begin(daxd, 'truncate', {
    size: 0,
    on_conflict: 'revoke',
    deadline_ms: 500,
  });
  await daxd.stop('SIGKILL');

  const next = await startDaxd(t, ['--backing', image]);
  const [first = '', ...rest] = await waiting(next);
  t.strictSame(rest, [defer.id, revoke.id]);
  await curl('-X', 'DELETE', `${next.url}/v1/operations/${first}`);
  t.match(await operation(next, defer.id, 20_000), { result: { quarantined_bytes: P } });
  t.match(await operation(next, revoke.id, 40_000), {
    result: { size: 0, evicted: [{ lease: lease.id, state: 'quarantined' }] },
  });
  t.match(await judged(t, next, image, place), /Size: 0\b/);
});
