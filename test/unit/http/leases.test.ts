import t from 'tap';

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
  ] as const) {
    const reply = await post('/v1/leases', body);
    t.equal(reply.statusCode, status, JSON.stringify(body));
    t.equal(reply.json().code, code);
  }
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
  lent.clock.advance(10_001);
  t.equal((await get('/v1/leases?state=suspect')).json().leases.length, 4);
});
