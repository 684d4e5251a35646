import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { Daxd } from '../../../src/client/daxd.js';
import type { Lease, Recall } from '../../../src/client/daxd.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { until } from '../../e2e/daxd.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';
import { TOY_LEASE, toyDaemon } from './set-up.js';

const P = PAGE_SIZE;

const ASKED = {
  partition: 'p1',
  path: 'a',
  offset: 0,
  length: 4096,
  access: 'read',
  ttlMs: 1_000,
} as const;

async function setUp(t: Test, lease: object = {}) {
  const toy = await toyDaemon(t);
  toy.lease = lease;
  const daxd = new Daxd({ url: toy.url, token: 'T', client: 'nic 0' });
  const held = await daxd.lease(ASKED);
  t.teardown(() => held.release());
  const renewals = () => toy.calls.filter(({ path }) => path === '/v1/leases/L1/renew');
  return { toy, daxd, lease: held, renewals };
}

/** Waits for `done`, a tenth of a second at a time, for ten seconds. */
async function eventually(done: () => boolean): Promise<void> {
  const until10 = AbortSignal.timeout(10_000);
  await until(
    async () => new Promise((resolve) => setImmediate(resolve)),
    () => done() || until10.aborted,
  );
}

t.test('lease: asked for with token and name, behind an open stream of events', async (t) => {
  const { toy, lease, renewals } = await setUp(t, { secret: 'S' });
  t.match(toy.calls, [
    { method: 'GET', path: '/v1/events?client=nic%200', headers: { authorization: 'Bearer T' } },
    {
      method: 'POST',
      path: '/v1/leases',
      json: { partition: 'p1', path: 'a', length: 4096, ttl_ms: 1_000, client: 'nic 0' },
    },
  ]);
  t.match(lease, { id: 'L1', state: 'active', backingPath: '/nowhere/pmem0.img' });
  await eventually(() => renewals().length > 0);
  await lease.release();
  await lease.release();
  const last = toy.calls.filter(({ method }) => method === 'DELETE');
  t.match(last, [{ path: '/v1/leases/L1', headers: { 'lease-secret': 'S' } }]);
  t.equal(last.length, 1, 'once');
  t.equal(renewals()[0]?.headers['lease-secret'], 'S');
  await eventually(() => toy.watchers() === 0);
  t.equal(toy.watchers(), 0, 'nobody watches for nothing');
});

t.test('await using: releases at the end of the block', async (t) => {
  const toy = await toyDaemon(t);
  const daxd = new Daxd({ url: toy.url });
  const seen: Lease[] = [];
  {
    await using lease = await daxd.lease(ASKED);
    seen.push(lease);
  }
  t.equal(seen[0]?.state, 'released');
  t.equal(toy.calls.at(-1)?.method, 'DELETE');
});

t.test('recall: from the stream, and from the answer to a renewal, once each', async (t) => {
  const { toy, lease } = await setUp(t);
  const recalls: unknown[] = [];
  lease.on('recall', (recall) => recalls.push(recall));
  const first = { operation: 'O1', op: 'truncate', ranges: [{ offset: 0, length: 4096 }] };
  toy.send('recall', { ...first, lease: 'L1' });
  toy.send('recall', { ...first, lease: 'L2', operation: 'O9' });
  const second = { ...first, operation: 'O2', deadline_ms: 7 };
  toy.renew = { status: 200, body: { ...TOY_LEASE, recalls: [first, second] } };
  await eventually(() => recalls.length === 2);
  t.match(recalls, [first, second]);
});

t.test('recall: what a lease is asked for from its grant on', async (t) => {
  const toy = await toyDaemon(t);
  const recall = { operation: 'O1', op: 'truncate', ranges: [{ offset: 0, length: 4096 }] };
  toy.lease = { recalls: [recall] };
  const lease = await new Daxd({ url: toy.url }).lease(ASKED);
  t.teardown(() => lease.release());
  const [told] = await once(lease, 'recall');
  t.strictSame(told, recall);
});

t.test('recall: the same change asks for more once what it asked for is released', async (t) => {
  const toy = await toyDaemon(t);
  toy.lease = { length: 3 * P, ranges: [{ offset: 0, length: 3 * P }] };
  const lease = await new Daxd({ url: toy.url }).lease({ ...ASKED, length: 3 * P });
  t.teardown(() => lease.release());
  const asksFor = (...pages: number[]) => ({
    operation: 'O1',
    op: 'truncate',
    ranges: pages.map((page) => ({ offset: page * P, length: P })),
  });
  const recalls: Recall[] = [];
  lease.on('recall', (recall) => recalls.push(recall));
  toy.send('recall', { ...asksFor(0, 1), lease: 'L1' });
  await eventually(() => recalls.length === 1);
  toy.release = () => ({
    status: 200,
    body: { ...TOY_LEASE, ranges: [{ offset: P, length: 2 * P }], recalls: [asksFor(1, 2)] },
  });
  await lease.release([{ offset: 0, length: P }]);
  t.equal(recalls.length, 1, 'a part of what it asked for is there still');
  toy.release = () => ({
    status: 200,
    body: { ...TOY_LEASE, ranges: [{ offset: 2 * P, length: P }], recalls: [asksFor(2)] },
  });
  await lease.release([{ offset: P, length: P }]);
  t.strictSame(recalls.at(-1), asksFor(2));
  toy.send('recall', { ...asksFor(0), lease: 'L1' });
  toy.send('recall', { ...asksFor(2), operation: 'O2', lease: 'L1' });
  await eventually(() => recalls.length === 3);
  t.equal(recalls.at(-1)?.operation, 'O2', 'what was released already is not asked for');
});

t.test(
  'stream: it connects again where it left off, and asks what waits after a resync',
  async (t) => {
    const { toy, lease } = await setUp(t);
    toy.send('recall', { lease: 'L1', operation: 'O1', op: 'truncate', ranges: [] }, 'toy-7');
    await once(lease, 'recall');
    toy.cut();
    await eventually(
      () => toy.calls.filter(({ path }) => path.startsWith('/v1/events')).length > 1,
    );
    const again = toy.calls.findLast(({ path }) => path.startsWith('/v1/events'));
    t.equal(again?.headers['last-event-id'], 'toy-7');
    toy.send('resync', {});
    await eventually(() => toy.calls.some(({ path }) => path === '/v1/operations'));
    t.ok(toy.calls.some(({ path }) => path === '/v1/operations'));
  },
);

t.test(
  'renewal: what fails is tried again; suspect when the ttl is over, active after that',
  async (t) => {
    // Three tries fit the ttl by far.
    const slow = { ttl_ms: 4_000, remaining_ttl_ms: 4_000 };
    const { toy, lease, renewals } = await setUp(t, slow);
    const told: string[] = [];
    lease.on('suspect', () => told.push('suspect'));
    lease.on('active', () => told.push('active'));
    lease.on('lost', () => told.push('lost'));
    toy.renew = null;
    await eventually(() => renewals().length > 2);
    t.strictSame(told, [], 'the ttl is not over');
    await eventually(() => told.length > 0);
    t.equal(lease.state, 'suspect');
    toy.renew = { status: 503, body: { code: 'draining', status: 503, detail: 'later' } };
    const before = renewals().length;
    await eventually(() => renewals().length > before);
    toy.renew = { status: 200, body: TOY_LEASE };
    await eventually(() => told.length > 1);
    t.strictSame(told, ['suspect', 'active']);
    t.equal(lease.state, 'active');
  },
);

t.test('release: of a part, whose pages are cut off before the daemon is told', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  writeFileSync(backing, 'x'.repeat(12_288));
  const length = 12_288;
  const { toy, lease } = await setUp(t, {
    access: 'write',
    // A renewal would tell of another lease: none comes in this time.
    ttl_ms: 60_000,
    remaining_ttl_ms: 60_000,
    backing_path: backing,
    ranges: [{ offset: 0, length }],
    extents: [{ file_offset: 0, device_offset: 0, length }],
    length,
  });
  const ranges = [{ offset: 0, length: 5_000 }];
  // While the mapping is under way.
  const mapping = lease.buffers();
  let shown = '';
  const tries: unknown[] = [];
  toy.release = () => {
    shown = bytes?.toString('latin1') ?? '';
    tries.push(toy.calls.at(-1));
    return tries.length === 1 ? null : { status: 200, body: TOY_LEASE };
  };
  const released = lease.release(ranges);
  const [view] = await mapping;
  const bytes = view?.bytes;
  await released;
  const told = { method: 'POST', path: '/v1/leases/L1/release', json: { ranges } };
  t.match(tries, [told, told], 'told again where no answer came');
  t.equal(view?.fileOffset, 0);
  const cutOff = '\0'.repeat(4_096);
  t.equal(shown, cutOff + 'x'.repeat(8_192), 'cut off by then, but for a page lent in part');
  t.equal(lease.state, 'active');
  t.strictSame(lease.extents, [{ file_offset: 5_000, device_offset: 5_000, length: 7_288 }]);

  await lease.release([{ offset: 8_192, length: 4_096 }]);
  t.equal(shown, cutOff + 'x'.repeat(4_096) + cutOff);
  const rest = await lease.buffers();
  t.strictSame(
    rest.map(({ fileOffset, bytes: { length: left } }) => [fileOffset, left]),
    [[5_000, 3_192]],
  );
  await t.rejects(lease.release([{ offset: -1, length: 1 }]), { code: 'EINVAL' });
  toy.release = () => ({ status: 409, body: { code: 'EX', status: 409, detail: 'no' } });
  await t.rejects(lease.release([{ offset: 6_000, length: 1 }]), { code: 'EX', status: 409 });

  await lease.release([{ offset: 0, length }]);
  t.equal(lease.state, 'released', 'nothing is left');
  await lease.release([{ offset: 0, length: 1 }]);
  t.equal(toy.calls.filter(({ method }) => method === 'DELETE').length, 1, 'as a whole, once');
});

t.test('lost: unknown to a renewal, or ended behind its back', async (t) => {
  const gone = { code: 'ENOENT', status: 404, detail: 'there is no lease L1' };
  const first = await setUp(t);
  first.toy.renew = { status: 404, body: gone };
  const [reason] = await once(first.lease, 'lost');
  t.match(reason, { code: 'ENOENT', status: 404, problem: gone, message: gone.detail });
  t.equal(first.lease.state, 'lost');
  await t.rejects(first.lease.buffers(), { code: 'ESHUTDOWN' });
  await first.lease.release();
  t.equal(
    first.toy.calls.some(({ method }) => method === 'DELETE'),
    false,
    'there is nothing to give back',
  );

  const second = await setUp(t);
  second.toy.send('lease.released', { lease: 'L1', reason: 'process gone' });
  const [why] = await once(second.lease, 'lost');
  t.match(why, { message: /process gone/ });
});

t.test('lost: a lease that went into quarantine hears of it at once', async (t) => {
  const { toy, lease } = await setUp(t, { ttl_ms: 60_000, remaining_ttl_ms: 60_000 });
  toy.renew = { status: 410, body: { code: 'lease-revoked', status: 410, detail: 'quarantine' } };
  toy.send('lease.quarantined', { lease: 'L1', reason: 'truncate went on without it' });
  const [why] = await once(lease, 'lost', { signal: AbortSignal.timeout(5_000) });
  t.match(why, { code: 'lease-revoked' });
});

t.test('lost: what may be in quarantine is given back by its release, also in parts', async (t) => {
  const revoked = { code: 'lease-revoked', status: 410, detail: 'lease L1 is in quarantine' };
  const { toy, lease } = await setUp(t, { secret: 'S' });
  toy.renew = { status: 410, body: revoked };
  await once(lease, 'lost');
  const calls = () => toy.calls.filter(({ path }) => /L1(\/release)?$/.test(path));
  t.strictSame(calls(), [], 'the DMA may go on');
  const ranges = [{ offset: 0, length: 1_000 }];
  await lease.release(ranges);
  await lease.release([{ offset: 1_000, length: 3_096 }]);
  await lease.release();
  const headers = { 'lease-secret': 'S' };
  t.match(calls(), [
    { method: 'POST', path: '/v1/leases/L1/release', json: { ranges }, headers },
    { method: 'DELETE', path: '/v1/leases/L1', headers },
  ]);
  t.equal(calls().length, 2, 'once');
  t.equal(lease.state, 'lost');
});

t.test('lease: refused, or nobody there', async (t) => {
  const daxd = new Daxd({ url: 'http://127.0.0.1:1' });
  await t.rejects(daxd.lease(ASKED), { name: 'ClientError', code: 'ECONNREFUSED' });
  t.throws(() => new Daxd({ url: 'ftp://x' }), TypeError);
});

t.test('lease: a request that gets no answer is sent again, as the same one', async (t) => {
  const { toy, daxd } = await setUp(t);
  const requests = () => toy.calls.filter(({ path }) => path === '/v1/leases');
  const inProgress = { code: 'idempotency-in-progress', status: 409, detail: 'later' };
  toy.grants.push(null, { status: 409, body: inProgress }, null);
  const lease = await daxd.lease(ASKED);
  t.equal(lease.state, 'active');
  const [before, ...tries] = requests();
  t.equal(tries.length, 4);
  t.strictSame(
    tries.map(({ json }) => json),
    tries.map(() => before?.json),
  );
  const keys = new Set(tries.map(({ headers }) => headers['idempotency-key']));
  t.equal(keys.size, 1);
  t.match([...keys][0], /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  t.notOk(keys.has(before?.headers['idempotency-key']), 'each lease has a key of its own');

  const conflict = { code: 'recall-conflict', status: 409, detail: 'a change waits' };
  toy.grants.push({ status: 409, body: conflict });
  await t.rejects(daxd.lease(ASKED), { code: 'recall-conflict' });
  t.equal(requests().length, 6, 'an answer is an answer');
});
