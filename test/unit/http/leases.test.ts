import { EventEmitter, once } from 'node:events';

import t from 'tap';

import { digestOf } from '../../../src/http/callers.js';
import type { Token } from '../../../src/http/callers.js';
import { setUpHttp } from './set-up.js';

const ASKED = {
  partition: 'pmem0p1',
  path: 'file',
  offset: 0,
  length: 4096,
  access: 'read',
  ttl_ms: 10_000,
};

t.test('lease: acquire, get, renew, release in part, delete', async (t) => {
  const { get, post, remove, lent } = await setUpHttp(t);
  lent.fs.create('file', ['www']);
  const granted = await post('/v1/leases', { ...ASKED, length: 8192, client: 'nic0' });
  t.equal(granted.statusCode, 201);
  const lease = granted.json();
  t.equal(granted.headers.location, `/v1/leases/${lease.id}`);
  t.match(lease, {
    state: 'active',
    partition: 'pmem0p1',
    path: 'file',
    offset: 0,
    length: 8192,
    access: 'read',
    ttl_ms: 10_000,
    remaining_ttl_ms: 10_000,
    pages: 2,
    ranges: [{ offset: 0, length: 8192 }],
    backing_path: '(memory)',
    client: 'nic0',
  });
  t.equal(lease.extents[0].length, 8192);

  lent.clock.advance(4_000);
  const url = `/v1/leases/${lease.id}`;
  t.equal((await get(url)).json().remaining_ttl_ms, 6_000, 'a look does not renew');
  t.equal((await post(`${url}/renew`)).json().remaining_ttl_ms, 10_000);
  const part = await post(`${url}/release`, { ranges: [{ offset: 0, length: 4096 }] });
  t.equal(part.json().pages, 1);
  t.equal(lent.pinnedPages(), 1);
  t.equal((await remove(url)).statusCode, 204);
  t.equal((await remove(url)).statusCode, 204, 'again does nothing');
  t.equal((await post(`${url}/release`)).json().state, 'released');
  t.equal((await post(`${url}/renew`)).statusCode, 404);
  t.equal(lent.pinnedPages(), 0);
});

t.test('lease: a pending change refuses it with recall-conflict', async (t) => {
  const { post, lent } = await setUpHttp(t);
  const file = lent.fs.create('file', ['w']);
  await post('/v1/leases', ASKED);
  const gone = new AbortController();
  const pages = lent.leases.list({}).leases[0]?.runs ?? [];
  const wait = lent.layouts.breakLayouts({
    op: 'truncate',
    inode: file.inode,
    from: 0,
    to: Infinity,
    pages: () => pages.map((run) => ({ firstPfn: run.deviceOffset / 4096, count: 1 })),
    signal: gone.signal,
  });
  const refused = await post('/v1/leases', ASKED);
  t.equal(refused.statusCode, 409);
  t.equal(refused.json().code, 'recall-conflict');
  gone.abort();
  await t.rejects(wait, { code: 'cancelled' });
  t.equal((await post('/v1/leases', ASKED)).statusCode, 201);
});

t.test('lease: requests that cannot be granted', async (t) => {
  const { get, post, lent } = await setUpHttp(t);
  lent.fs.create('file', ['w']);
  for (const [body, status, code] of [
    [{ ...ASKED, offset: 4096 }, 400, 'EINVAL'],
    [{ ...ASKED, length: 4097 }, 400, 'EINVAL'],
    [{ ...ASKED, offset: -1 }, 400, 'EINVAL'],
    [{ ...ASKED, offset: 2 ** 53 }, 400, 'EINVAL'],
    [{ ...ASKED, ttl_ms: 1 }, 400, 'EINVAL'],
    [{ ...ASKED, access: 'own' }, 400, 'EINVAL'],
    [{ ...ASKED, wait_ms: -1 }, 400, 'EINVAL'],
    [{ ...ASKED, path: 'none' }, 404, 'ENOENT'],
    [{ ...ASKED, partition: 'none' }, 404, 'ENOENT'],
    [{ ...ASKED, pid: 1, pid_start: 1 }, 422, 'ESRCH'],
    [{ ...ASKED, pid: 1 }, 400, 'EINVAL'],
    [{ ...ASKED, pid: 1, pid_start: 1, cgroup: '/a' }, 400, 'EINVAL'],
    [{ ...ASKED, client: 'nic\0' }, 400, 'EINVAL'],
    [{ ...ASKED, path: 'fi\0le' }, 400, 'EINVAL'],
    [{ ...ASKED, cgroup: '/a\0' }, 400, 'EINVAL'],
    [{ ...ASKED, cgroup: 'a' }, 400, 'EINVAL'],
    [{ ...ASKED, cgroup: `/${'a'.repeat(4095)}` }, 400, 'EINVAL'],
    [{ ...ASKED, cgroup: '/a' }, 422, 'ESRCH'],
  ] as const) {
    const reply = await post('/v1/leases', body);
    t.equal(reply.statusCode, status, JSON.stringify(body));
    t.equal(reply.json().code, code);
  }
  t.match((await post('/v1/leases', { ...ASKED, client: 'nic\0' })).json(), {
    detail: /^body\.client must match pattern .*, not "nic\\u0000"$/,
  });
  t.equal(lent.pinnedPages(), 0, 'nothing is pinned');
  t.equal((await get('/v1/leases/none')).statusCode, 404);
});

t.test('leases: listed in pages, by filter', async (t) => {
  const { get, post, lent } = await setUpHttp(t);
  lent.fs.create('file', ['w']);
  for (let i = 0; i < 3; i++) await post('/v1/leases', ASKED);
  const raw = { ...ASKED, partition: 'pmem0p2', path: undefined };
  await post('/v1/leases', raw);
  const first = (await get('/v1/leases?partition=pmem0p1&limit=2')).json();
  t.equal(first.leases.length, 2);
  const rest = (await get(`/v1/leases?partition=pmem0p1&cursor=${first.next_cursor}`)).json();
  t.equal(rest.leases.length, 1);
  t.equal((await get('/v1/leases?path=/file')).json().leases.length, 3);
  t.equal((await get('/v1/leases?state=suspect')).json().leases.length, 0);
  t.equal((await get('/v1/leases?partition=pmem0p2')).json().leases[0].path, undefined);
  t.equal((await get('/v1/leases?state=gone')).statusCode, 400);
  for (const cursor of ['', 'xx', `${first.next_cursor}0`]) {
    const refused = await get(`/v1/leases?cursor=${cursor}`);
    t.match(refused.json(), { status: 400, detail: /is not one of daxd's/ }, cursor);
  }
  lent.clock.advance(10_001);
  t.equal((await get('/v1/leases?state=suspect')).json().leases.length, 4);
});

t.test('idempotency key: the same request answers with the same lease', async (t) => {
  const { post, lent } = await setUpHttp(t);
  lent.fs.create('file', ['ww']);
  const key = { 'idempotency-key': '"once \\"1\\""' };
  const first = await post('/v1/leases', ASKED, key);
  t.equal(first.statusCode, 201);
  lent.clock.advance(4_000);
  const { ttl_ms: ttl, ...rest } = ASKED;
  for (const sent of ['"once \\"1\\""', 'once "1"']) {
    const again = await post('/v1/leases', { ttl_ms: ttl, ...rest }, { 'idempotency-key': sent });
    t.equal(again.statusCode, 201, sent);
    t.equal(again.headers.location, first.headers.location);
    t.strictSame(again.json(), { ...first.json(), remaining_ttl_ms: 6_000 }, 'secret and all');
  }
  t.equal(lent.leases.size, 1);
  t.equal(lent.pinnedPages(), 1);
  t.equal(lent.leases.counters.requests.granted, 1);

  const other = await post('/v1/leases', { ...ASKED, offset: 4096 }, key);
  t.equal(other.statusCode, 422);
  t.equal(other.json().code, 'idempotency-mismatch');
  const next = await post('/v1/leases', ASKED, { 'idempotency-key': 'other' });
  t.not(next.json().id, first.json().id);
  t.not(next.json().secret, first.json().secret);

  await lent.leases.release(first.json().id);
  const late = await post('/v1/leases', ASKED, key);
  t.equal(late.statusCode, 410);
  t.match(late.json(), { code: 'ENOENT', detail: new RegExp(first.json().id) });
  t.equal(lent.pinnedPages(), 1, 'nothing is granted instead');
  for (const bad of ['', '"', '"a', 'a\u00e9', 'x'.repeat(256), '""', '"\\a"']) {
    const refused = await post('/v1/leases', ASKED, { 'idempotency-key': bad });
    t.equal(refused.json().code, 'EINVAL', bad);
  }
});

t.test('idempotency key: refused while its request is under way', async (t) => {
  const { post, lent } = await setUpHttp(t);
  lent.fs.create('file', ['ww']);
  const key = { 'idempotency-key': 'one' };
  const gate = new EventEmitter();
  lent.store.gate = once(gate, 'open');
  const first = post('/v1/leases', ASKED, key);
  for (let turn = 0; turn < 100 && lent.leases.unkept.length === 0; turn++) {
    await new Promise((resolve) => void setImmediate(resolve));
  }
  const second = await post('/v1/leases', ASKED, key);
  t.equal(second.statusCode, 409);
  t.equal(second.json().code, 'idempotency-in-progress');
  t.equal((await post('/v1/leases', { ...ASKED, length: 1 }, key)).statusCode, 422);
  gate.emit('open');
  const { id } = (await first).json();
  t.equal((await post('/v1/leases', ASKED, key)).json().id, id);
  t.equal(lent.leases.size, 1);
});

t.test('idempotency key: a refused request leaves none', async (t) => {
  const { post, lent } = await setUpHttp(t);
  const key = { 'idempotency-key': 'one' };
  t.equal((await post('/v1/leases', ASKED, key)).statusCode, 404);
  lent.fs.create('file', ['w']);
  t.equal((await post('/v1/leases', ASKED, key)).statusCode, 201);
});

/** A token with scope lease, named like its text. */
function tokenOf(name: string): Token {
  return { name, digest: digestOf(name), scopes: new Set(['lease']) };
}

t.test('idempotency key: of one token alone', async (t) => {
  const { post, lent } = await setUpHttp(t, [tokenOf('aa'), tokenOf('bb')]);
  lent.fs.create('file', ['w']);
  const ids = [];
  for (const name of ['aa', 'bb', 'aa']) {
    const headers = { authorization: `Bearer ${name}`, 'idempotency-key': 'one' };
    const { id, secret } = (await post('/v1/leases', ASKED, headers)).json();
    ids.push(id);
    const shown = { authorization: headers.authorization, 'lease-secret': secret };
    t.equal((await post(`/v1/leases/${id}/renew`, {}, shown)).statusCode, 200);
  }
  t.not(ids[0], ids[1]);
  t.equal(ids[0], ids[2]);
});
