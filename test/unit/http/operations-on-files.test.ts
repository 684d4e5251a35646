import t from 'tap';

import { setUpHttp } from './set-up.js';

const P1 = '/v1/partitions/pmem0p1';
const FILES = `${P1}/files`;

t.test('put: append goes to the end and says where that was', async (t) => {
  const { put, control } = await setUpHttp(t);
  const made = await put(`${FILES}/log?append=true`, 'one');
  t.equal(made.statusCode, 201);
  t.equal(made.json().offset, 0);
  const more = await put(`${FILES}/log?append=true`, 'two');
  t.equal(more.statusCode, 200);
  t.strictSame(more.json(), { inode: made.json().inode, offset: 3 });
  t.strictSame((await put(`${FILES}/log?append=true`, '')).json().offset, 6, 'of no bytes');
  t.equal(control.fs.bytes('log'), 'onetwo');
  const large = Buffer.alloc(5000, 'x');
  t.equal((await put(`${FILES}/log?append=true`, large)).json().offset, 6);
  t.equal(control.fs.bytes('log')?.length, 5006, 'in several pieces');
  t.equal((await put(`${FILES}/log?append=false`, 'whole')).statusCode, 204);
  t.equal(control.fs.bytes('log'), 'whole');
  for (const query of ['append=1', 'append=', 'append=true&append=true', 'append=true&offset=0']) {
    t.equal((await put(`${FILES}/log?${query}`, 'x')).statusCode, 400, query);
  }
  t.equal(control.fs.bytes('log'), 'whole');
});

t.test('put: exclusive and If-None-Match make a new file only', async (t) => {
  const { put, control } = await setUpHttp(t);
  const any = { 'if-none-match': '*' };
  t.equal((await put(`${FILES}/a?exclusive=true`, 'a')).statusCode, 201);
  t.equal((await put(`${FILES}/b`, 'b', any)).statusCode, 201);
  t.equal((await put(`${FILES}/c?exclusive=true&append=true`, 'c')).statusCode, 201);
  t.equal((await put(`${FILES}/d?exclusive=true&offset=1`, 'd')).statusCode, 201);
  const again = await put(`${FILES}/a?exclusive=true`, 'x');
  t.equal(again.statusCode, 409);
  t.equal(again.json().code, 'EEXIST');
  const failed = await put(`${FILES}/a`, 'x', any);
  t.equal(failed.statusCode, 412);
  t.equal(failed.json().code, 'EEXIST');
  t.equal(failed.json().status, 412);
  t.equal((await put(`${FILES}/a`, 'x', { 'if-none-match': '"tag"' })).statusCode, 400);
  t.equal(control.fs.bytes('a'), 'a');
  t.equal((await put(`${FILES}/a?exclusive=false`, 'x')).statusCode, 204);
});

t.test('put, delete: under terms that are not kept nothing is changed', async (t) => {
  const { app, put, control } = await setUpHttp(t);
  control.fs.put('a', 'whole');
  for (const [header, value] of [
    ['content-range', 'bytes 5-9/10'],
    ['content-encoding', 'gzip'],
    ['if-match', '"tag"'],
    ['if-unmodified-since', 'Fri, 27 Nov 2026 21:00:00 GMT'],
  ] as const) {
    const refused = await put(`${FILES}/a`, 'x', { [header]: value });
    t.equal(refused.statusCode, 400, header);
    t.match(refused.json(), { code: 'EINVAL', detail: new RegExp(header) });
    const headers = { host: 'localhost', [header]: value };
    const kept = await app.inject({ method: 'DELETE', url: `${FILES}/a`, headers });
    t.equal(kept.statusCode, 400, `DELETE, ${header}`);
  }
  t.equal(control.fs.bytes('a'), 'whole');
  t.equal((await put(`${FILES}/a`, 'x', { 'content-encoding': 'identity' })).statusCode, 204);
});

t.test('link, mknod, rename: reach the filesystem', async (t) => {
  const { post, control } = await setUpHttp(t);
  const inode = control.fs.put('a', 'x');
  t.equal((await post(`${P1}/link`, { from: '/a', to: 'b' })).statusCode, 204);
  t.equal(control.fs.lookup('b'), inode);
  t.equal((await post(`${P1}/link`, { from: 'none', to: 'c' })).json().code, 'ENOENT');

  const exists = await post(`${P1}/rename`, { from: 'a', to: 'b', no_replace: true });
  t.equal(exists.json().code, 'EEXIST');
  t.equal(exists.statusCode, 409);
  t.equal((await post(`${P1}/rename`, { from: 'a', to: 'c', no_replace: true })).statusCode, 204);
  t.equal((await post(`${P1}/rename`, { from: 'c', to: 'b', no_replace: false })).statusCode, 204);

  const device = { path: 'null', type: 'char', mode: 0o666, major: 1, minor: 3 };
  const made = await post(`${P1}/mknod`, device);
  t.equal(made.statusCode, 201);
  t.equal(made.json().inode, control.fs.lookup('null'));
  t.equal((await post(`${P1}/mknod`, { path: 'pipe', type: 'fifo' })).statusCode, 201);
  t.strictSame(control.fs.calls, [
    ['mknod', 'null', { type: 'char', mode: 0o666, major: 1, minor: 3 }],
    ['mknod', 'pipe', { type: 'fifo', mode: 0o644 }],
  ]);
  for (const body of [
    { ...device, type: 'file' },
    { ...device, major: 4096 },
    { ...device, minor: 2 ** 20 },
    { ...device, mode: 0o20666 },
    { path: 'x' },
  ]) {
    t.equal((await post(`${P1}/mknod`, body)).statusCode, 400, JSON.stringify(body));
  }
});

t.test('collapse-range and insert-range: answer like the other changes', async (t) => {
  const { post, control } = await setUpHttp(t);
  const inode = control.fs.put('a', 'hello');
  const body = { path: 'a', offset: 4096, length: 8192 };
  for (const op of ['collapse-range', 'insert-range']) {
    const key = { 'idempotency-key': '"one"' };
    const refused = await post(`/v1/partitions/pmem0p1/${op}`, {}, key);
    t.match(refused.json(), { status: 400, detail: /no Idempotency-Key is kept/ }, op);
    const reply = await post(`${P1}/${op}`, body);
    t.strictSame(
      reply.json(),
      { size: 5, waited_ms: 1.5, freed_bytes: 4096, quarantined_bytes: 0 },
      op,
    );
    t.equal((await post(`${P1}/${op}`, { ...body, keep_size: true })).statusCode, 400);
    t.equal((await post(`${P1}/${op}`, { ...body, length: 0 })).statusCode, 400);
    t.equal((await post(`${P1}/${op}`, { ...body, offset: 2 ** 53 - 1 })).json().code, 'EFBIG');
  }
  t.strictSame(control.fs.calls, [
    ['collapseRange', inode, 4096, 8192],
    ['insertRange', inode, 4096, 8192],
  ]);
});

t.test('seek: data and holes, and nothing behind the end', async (t) => {
  const { get, control } = await setUpHttp(t);
  control.fs.put('a', 'hello');
  t.strictSame((await get(`${P1}/seek/a?offset=2&what=data`)).json(), { offset: 2 });
  t.strictSame((await get(`${P1}/seek/a?offset=2&what=hole`)).json(), { offset: 5 });
  const beyond = await get(`${P1}/seek/a?offset=5&what=data`);
  t.equal(beyond.statusCode, 416);
  t.equal(beyond.json().code, 'ENXIO');
  for (const query of ['offset=0', 'what=data', 'offset=0&what=end', 'offset=-1&what=data']) {
    t.equal((await get(`${P1}/seek/a?${query}`)).statusCode, 400, query);
  }
  t.equal((await get(`${P1}/seek/none?offset=0&what=data`)).statusCode, 404);
});

t.test('statfs: what is there, free and available', async (t) => {
  const { get } = await setUpHttp(t);
  t.strictSame((await get(`${P1}/statfs`)).json(), {
    block_size: 4096,
    total_bytes: 81920,
    free_bytes: 40960,
    available_bytes: 20480,
    total_inodes: 64,
    free_inodes: 50,
    quarantined_bytes: 4096,
    quarantine_limit_bytes: 8192,
  });
  t.equal((await get('/v1/partitions/pmem0p9/statfs')).statusCode, 404);
});
