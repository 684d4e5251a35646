import t from 'tap';

import { setUpHttp } from './set-up.js';

const FILES = '/v1/partitions/pmem0p1/files';

t.test('get: bytes, ranges and entity tags', async (t) => {
  const { app, get, control } = await setUpHttp(t);
  control.fs.put('hello.txt', 'hello world');
  const whole = await get(`${FILES}/hello.txt`);
  t.equal(whole.body, 'hello world');
  t.equal(whole.headers['content-length'], '11');
  t.equal(whole.headers['accept-ranges'], 'bytes');

  for (const [range, body, header] of [
    ['bytes=0-4', 'hello', 'bytes 0-4/11'],
    ['bytes=6-', 'world', 'bytes 6-10/11'],
    ['bytes=-3', 'rld', 'bytes 8-10/11'],
    ['bytes=9-99', 'ld', 'bytes 9-10/11'],
    ['bytes=-99', 'hello world', 'bytes 0-10/11'],
  ] as const) {
    const part = await get(`${FILES}/hello.txt`, { range });
    t.equal(part.statusCode, 206, range);
    t.equal(part.body, body);
    t.equal(part.headers['content-range'], header);
  }
  for (const range of ['bytes=11-', 'bytes=-0', 'bytes=99-100']) {
    const refused = await get(`${FILES}/hello.txt`, { range });
    t.equal(refused.statusCode, 416, range);
    t.equal(refused.headers['content-range'], 'bytes */11');
    t.match(refused.headers['content-type'], /problem/);
  }
  for (const range of ['bytes=0-1,3-4', 'bytes=4-2', 'lines=1-2', 'bytes=-']) {
    t.equal((await get(`${FILES}/hello.txt`, { range })).body, 'hello world', range);
  }

  const { etag } = whole.headers;
  t.type(etag, 'string');
  const tag = String(etag);
  t.equal((await get(`${FILES}/hello.txt`, { 'if-none-match': tag })).statusCode, 304);
  t.equal((await get(`${FILES}/hello.txt`, { 'if-none-match': `"x", W/${tag}` })).statusCode, 304);
  t.equal((await get(`${FILES}/hello.txt`, { 'if-none-match': '"x"' })).statusCode, 200);
  for (const known of ['*', tag, `"x", ${tag}`]) {
    t.equal((await get(`${FILES}/hello.txt`, { 'if-match': known })).statusCode, 200, known);
  }
  for (const other of ['"x"', `W/${tag}`]) {
    const refused = await get(`${FILES}/hello.txt`, { 'if-match': other });
    t.match(refused.json(), { status: 412, code: 'stale-generation' }, other);
  }
  const ranged = { range: 'bytes=0-0' };
  t.equal((await get(`${FILES}/hello.txt`, { ...ranged, 'if-range': tag })).statusCode, 206);
  t.equal((await get(`${FILES}/hello.txt`, { ...ranged, 'if-range': '"x"' })).statusCode, 200);

  const head = await app.inject({
    method: 'HEAD',
    url: `${FILES}/hello.txt`,
    headers: { host: 'localhost' },
  });
  t.equal(head.headers['content-length'], '11');
  t.equal(head.body, '');

  control.pinned = 1;
  const pinned = await get(`${FILES}/hello.txt`);
  t.equal(pinned.headers.etag, undefined, 'a device may write there, no time stamp would tell');
});

t.test('get: what has no bytes is refused', async (t) => {
  const { get, control } = await setUpHttp(t);
  control.fs.put('pipe', '', 'fifo');
  t.equal((await get(`${FILES}/pipe`)).json().code, 'EOPNOTSUPP');
  t.equal((await get(`${FILES}/none`)).json().code, 'ENOENT');
});

t.test('paths: empty parts, %2F, NUL and bad UTF-8 are EINVAL', async (t) => {
  const { get, put, remove, post, control } = await setUpHttp(t);
  control.fs.put('d', '', 'directory');
  control.fs.put('d/ä %', 'deep');
  t.equal((await get(`${FILES}/d/%C3%A4%20%25`)).body, 'deep');
  for (const path of ['d//x', '/d', 'd/', 'd%2Fx', 'd%2fx', 'x%00']) {
    for (const reply of [
      await get(`${FILES}/${path}`),
      await get(`/v1/partitions/pmem0p1/stat/${path}`),
      await put(`${FILES}/${path}`, 'x'),
      await remove(`${FILES}/${path}`),
    ]) {
      t.equal(reply.json().code, 'EINVAL', path);
      t.equal(reply.statusCode, 400);
    }
  }
  for (const path of ['%FF', '%C3', 'x%E2%28', '%']) {
    const reply = await get(`${FILES}/${path}`);
    t.equal(reply.statusCode, 400, path);
    t.equal(reply.json().code, 'EINVAL');
    t.match(reply.headers['content-type'], /problem/);
  }
  for (const path of ['..', 'a/./b', 'a//b', 'a/', '//a', 'a\0b', '\ud800']) {
    const reply = await post('/v1/partitions/pmem0p1/mkdir', { path });
    t.equal(reply.json().code, 'EINVAL', JSON.stringify(path));
  }
  t.equal((await post('/v1/partitions/pmem0p1/mkdir', { path: '/new' })).statusCode, 201);
  t.equal(control.fs.lookup('new') > 0, true, 'one leading slash is the root');
});

t.test('put: 201 for a new file, 204 for a replaced one, any type of body', async (t) => {
  const { put, control } = await setUpHttp(t);
  const made = await put(`${FILES}/a`, 'one');
  t.equal(made.statusCode, 201);
  t.type(made.json().inode, 'number');
  t.equal(
    (await put(`${FILES}/a`, '{"two":2}', { 'content-type': 'application/json' })).statusCode,
    204,
  );
  t.equal(control.fs.bytes('a'), '{"two":2}');
  const large = Buffer.alloc(100_000, 'abc');
  t.equal((await put(`${FILES}/large`, large, { 'content-type': 'text/csv' })).statusCode, 201);
  t.equal(control.fs.bytes('large'), large.toString(), 'no limit of JSON bodies here');
  t.equal((await put(`${FILES}/empty`, '')).statusCode, 201);
  t.equal(control.fs.bytes('empty'), '');
});

t.test('put: with offset in place, also past the end and into a new file', async (t) => {
  const { put, control } = await setUpHttp(t);
  control.fs.put('a', 'hello');
  t.equal((await put(`${FILES}/a?offset=1`, 'u')).statusCode, 204);
  t.equal(control.fs.bytes('a'), 'hullo');
  t.equal((await put(`${FILES}/a?offset=6`, '!')).statusCode, 204);
  t.equal(control.fs.bytes('a'), 'hullo\0!');
  t.equal((await put(`${FILES}/b?offset=2`, 'x')).statusCode, 201);
  t.equal(control.fs.bytes('b'), '\0\0x');
  for (const query of ['offset=-1', 'offset=9007199254740992', 'offset=x', 'truncate=1']) {
    t.equal((await put(`${FILES}/a?${query}`, 'x')).statusCode, 400, query);
  }
  const beyond = await put(`${FILES}/a?offset=9007199254740991`, 'xy');
  t.equal(beyond.json().code, 'EFBIG');
  t.equal(control.fs.bytes('a'), 'hullo\0!');
});

t.test('delete, rename, symlink: reach the filesystem', async (t) => {
  const { remove, post, control } = await setUpHttp(t);
  control.fs.put('a', 'x');
  const rename = await post('/v1/partitions/pmem0p1/rename', { from: 'a', to: '/b' });
  t.equal(rename.statusCode, 204);
  const link = await post('/v1/partitions/pmem0p1/symlink', { path: 'l', target: '../b' });
  t.equal(link.statusCode, 201);
  t.equal(control.fs.bytes('l'), '../b');
  t.equal((await remove(`${FILES}/b`)).statusCode, 204);
  t.equal((await remove(`${FILES}/b`)).statusCode, 404);
});

t.test('stat: offsets are those of the backing', async (t) => {
  const { get, control } = await setUpHttp(t);
  const inode = control.fs.put('a', 'x');
  control.pinned = 1;
  const stat = (await get('/v1/partitions/pmem0p1/stat/a')).json();
  t.match(stat, {
    inode,
    type: 'file',
    size: 1,
    mtime: '2023-11-14T22:13:20.123456789Z',
    extents: [
      { file_offset: 0, device_offset: 1_000_000 + inode * 4096, length: 4096, unwritten: false },
    ],
    pinned_pages: 1,
  });
  t.equal((await get('/v1/partitions/pmem0p1/stat/')).json().type, 'directory');
  t.equal((await get('/v1/partitions/pmem0p1/stat')).json().type, 'directory');
});

t.test('listing: whole, in pages, and names that are not UTF-8', async (t) => {
  const { get, control } = await setUpHttp(t);
  for (const name of ['c', 'a', 'b']) control.fs.put(name, name.repeat(3));
  control.fs.put('\xff', 'x', 'file');
  for (const root of [FILES, `${FILES}/`]) {
    const { entries } = (await get(root)).json();
    t.strictSame(
      entries.map(
        (entry: { name?: string; name_base64?: string }) => entry.name ?? entry.name_base64,
      ),
      ['c', 'a', 'b', '/w=='],
    );
    t.strictSame(entries[1], { name: 'a', type: 'file', size: 3, inode: 13 });
  }
  const first = (await get(`${FILES}?limit=3`)).json();
  t.strictSame(
    first.entries.map((entry: { name: string }) => entry.name),
    ['a', 'b', 'c'],
  );
  const second = (await get(`${FILES}?limit=3&cursor=${first.next_cursor}`)).json();
  t.strictSame(second, { entries: [{ name_base64: '/w==', type: 'file', size: 1, inode: 15 }] });
  for (const query of ['limit=0', 'limit=1001', 'limit=3&cursor=***', 'cursor=']) {
    t.equal((await get(`${FILES}?${query}`)).statusCode, 400, query);
  }
});

t.test('truncate and its kin: what they answer, and the ranges they refuse', async (t) => {
  const { post, control } = await setUpHttp(t);
  const inode = control.fs.put('a', 'hello');
  const reply = await post('/v1/partitions/pmem0p1/truncate', { path: 'a', size: 3 });
  t.strictSame(reply.json(), { size: 3, waited_ms: 1.5, freed_bytes: 4096, quarantined_bytes: 0 });
  for (const op of ['punch-hole', 'zero-range', 'fallocate']) {
    const url = `/v1/partitions/pmem0p1/${op}`;
    const body = { path: 'a', offset: 0, length: 4096, keep_size: true };
    t.equal((await post(url, body)).statusCode, 200, op);
    t.equal((await post(url, { ...body, length: 0 })).statusCode, 400);
    t.equal((await post(url, { ...body, offset: 2 ** 53 - 1 })).json().code, 'EFBIG');
  }
  t.strictSame(
    control.fs.calls.map(([name]) => name),
    ['truncate', 'punchHole', 'zeroRange', 'fallocate'],
  );
  t.strictSame(control.fs.calls[1], ['punchHole', inode, 0, 4096]);
  const shrink = { path: 'a', offset: 0, length: 1, keep_size: false };
  t.equal((await post('/v1/partitions/pmem0p1/punch-hole', shrink)).statusCode, 400);
});
