import { join } from 'node:path';

import t from 'tap';

import { temporaryDirectory } from '../../support/scratch-directory.js';
import { openDaemon } from './set-up.js';

const P1 = '/v1/partitions/pmem0p1';
const BLOCK = 4096;

t.test('names: links, nodes and renames on a real ext4', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const { get, post, put, remove } = await openDaemon(t, { backing, size: '64M', init: true });
  await put(`${P1}/files/a`, 'one');
  t.equal((await post(`${P1}/link`, { from: 'a', to: 'b' })).status, 204);
  t.match((await post(`${P1}/link`, { from: 'a', to: 'b' })).body, { code: 'EEXIST' });
  t.match((await post(`${P1}/link`, { from: 'lost+found', to: 'c' })).body, { code: 'EPERM' });
  t.match((await get(`${P1}/stat/b`)).body, { nlink: 2, size: 3 });
  t.equal((await remove(`${P1}/files/a`)).status, 204);
  t.equal((await get(`${P1}/files/b`)).body, 'one');

  const device = { path: 'null', type: 'char', major: 1, minor: 3, mode: 0o666 };
  t.equal((await post(`${P1}/mknod`, device)).status, 201);
  t.match((await get(`${P1}/stat/null`)).body, {
    type: 'char',
    mode: 0o20666,
    device: { major: 1, minor: 3 },
  });
  t.match((await post(`${P1}/mknod`, { path: 'x', type: 'char' })).body, { code: 'EINVAL' });
  t.equal((await post(`${P1}/mknod`, { path: 'pipe', type: 'fifo' })).status, 201);
  t.match((await get(`${P1}/files/pipe`)).body, { code: 'EOPNOTSUPP' });

  const move = { from: 'b', to: 'null', no_replace: true };
  t.match((await post(`${P1}/rename`, move)).body, { code: 'EEXIST', status: 409 });
  t.equal((await post(`${P1}/rename`, { ...move, no_replace: false })).status, 204);
  t.equal((await get(`${P1}/files/null`)).body, 'one');
});

t.test('attributes: PATCH, extended attributes and statfs on a real ext4', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const { get, post, put, putJson, patch, remove } = await openDaemon(t, {
    backing,
    size: '64M',
    init: true,
  });
  await put(`${P1}/files/a`, 'one');
  await post(`${P1}/symlink`, { path: 'l', target: 'a' });
  const wanted = { mode: 0o4711, uid: 1000, gid: 70_000 };
  const mtime = '2400-02-29T23:59:59.123456789Z';
  const changed = await patch(`${P1}/stat/a`, { ...wanted, mtime });
  t.match(changed, { status: 200, body: { ...wanted, mode: 0o104711, mtime } });
  t.strictSame((await get(`${P1}/stat/a`)).body, changed.body);
  t.match((await patch(`${P1}/stat/l`, { uid: 5 })).body, { type: 'symlink', uid: 5 });
  t.match((await patch(`${P1}/stat/l`, { mode: 0o600 })).body, { code: 'EOPNOTSUPP' });
  t.equal((await patch(`${P1}/stat`, { mode: 0o700 })).body.mode, 0o40700, 'the root');

  const large = { value_base64: Buffer.alloc(2000, 'v').toString('base64') };
  const small = { value_base64: 'AP8=' };
  t.equal((await putJson(`${P1}/xattrs/a?name=user.large`, large)).status, 204);
  t.equal((await putJson(`${P1}/xattrs/l?name=user.small`, small)).status, 204, 'followed');
  const { xattrs } = (await get(`${P1}/xattrs/a`)).body;
  t.strictSame(xattrs, [
    { name: 'user.small', ...small },
    { name: 'user.large', ...large },
  ]);
  const own = `${P1}/xattrs/l?follow=false&name=`;
  t.match((await putJson(`${own}user.x`, small)).body, { code: 'EPERM' });
  t.equal((await putJson(`${own}trusted.x`, small)).status, 204);
  t.strictSame((await get(`${P1}/xattrs/l?follow=false`)).body.xattrs, [
    { name: 'trusted.x', ...small },
  ]);
  const huge = { value_base64: Buffer.alloc(4096).toString('base64') };
  t.match((await putJson(`${P1}/xattrs/a?name=user.b`, huge)).body, {
    code: 'ENOSPC',
    status: 507,
  });
  t.match((await putJson(`${P1}/xattrs/a?name=b`, small)).body, {
    code: 'EOPNOTSUPP',
    status: 422,
  });
  t.match((await putJson(`${P1}/xattrs/a?name=`, small)).body, { code: 'ERANGE', status: 400 });
  t.equal((await remove(`${P1}/xattrs/a?name=user.large`)).status, 204);
  t.match((await remove(`${P1}/xattrs/a?name=user.large`)).body, { code: 'ENODATA', status: 404 });

  const sizes = (await get(`${P1}/statfs`)).body;
  t.ok(sizes.total_bytes > sizes.free_bytes && sizes.free_bytes >= sizes.available_bytes);
  t.ok(sizes.total_inodes > sizes.free_inodes && sizes.free_inodes > 0);
});

t.test('content: append, exclusive, shifted ranges and seek on a real ext4', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const { get, post, put } = await openDaemon(t, { backing, size: '64M', init: true });
  const log = `${P1}/files/log`;
  t.equal((await put(`${log}?append=true`, 'first')).status, 201);
  const appended = await put(`${log}?append=true`, 'second');
  t.match(await appended.json(), { offset: 5 });
  const lines = Array.from({ length: 20 }, (_, i) => `<${i}>`);
  await Promise.all(lines.map((line) => put(`${log}?append=true`, line)));
  const whole: string = (await get(log)).body;
  t.ok(
    lines.every((line) => whole.includes(line)),
    'none is lost',
  );
  t.equal(whole.length, 'firstsecond'.length + lines.join('').length);

  const answers = await Promise.all(
    ['x', 'y', 'z'].map((text) => put(`${P1}/files/one?exclusive=true`, text)),
  );
  t.strictSame(
    answers.map(({ status }) => String(status)).toSorted(),
    ['201', '409', '409'],
    'one wins',
  );

  const blocks = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(BLOCK));
  await put(`${P1}/files/f`, blocks.join(''));
  const second = { path: 'f', offset: BLOCK, length: BLOCK };
  t.match((await post(`${P1}/collapse-range`, second)).body, { size: 3 * BLOCK });
  t.match((await post(`${P1}/insert-range`, second)).body, { size: 4 * BLOCK });
  t.equal(
    (await get(`${P1}/files/f`)).body,
    [blocks[0], '\0'.repeat(BLOCK), blocks[2], blocks[3]].join(''),
  );
  for (const [query, offset] of [
    ['offset=0&what=data', 0],
    ['offset=0&what=hole', BLOCK],
    [`offset=${BLOCK + 7}&what=data`, 2 * BLOCK],
    [`offset=${BLOCK + 7}&what=hole`, BLOCK + 7],
    [`offset=${3 * BLOCK}&what=hole`, 4 * BLOCK],
  ] as const) {
    t.match((await get(`${P1}/seek/f?${query}`)).body, { offset }, query);
  }
  t.match(await get(`${P1}/seek/f?offset=${4 * BLOCK}&what=data`), { status: 416 });
  for (const odd of [{ offset: 1 }, { length: 5 }, { offset: 4 * BLOCK }]) {
    const refused = await post(`${P1}/collapse-range`, { ...second, ...odd });
    t.match(refused.body, { code: 'EINVAL' }, JSON.stringify(odd));
  }
});

t.test('leased files: unlink answers at once, shifted ranges wait', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const { get, post, put, remove } = await openDaemon(t, { backing, size: '64M', init: true });
  await put(`${P1}/files/a`, 'x'.repeat(8 * BLOCK));
  const before = (await get(`${P1}/statfs`)).body.free_bytes;
  const asked = { partition: 'pmem0p1', path: 'a', offset: 0, length: BLOCK, access: 'read' };
  const lease = (await post('/v1/leases', { ...asked, ttl_ms: 60_000 })).body;

  const waiting = post(`${P1}/insert-range`, { path: 'a', offset: 0, length: BLOCK });
  const operations = async (): Promise<{ op: string; id: string; blocked_by: string[] }[]> =>
    (await get('/v1/operations')).body.operations.filter(({ done }: { done: boolean }) => !done);
  let pending = await operations();
  while (pending.length === 0) pending = await operations();
  t.match(pending, [{ op: 'insert-range', blocked_by: [lease.id] }]);
  const cancelled = await remove(`/v1/operations/${pending[0]?.id}`);
  t.match(cancelled.body, { done: true, state: 'ended', outcome: 'cancelled' });
  t.match((await waiting).body, { code: 'cancelled' });
  t.equal((await get(`${P1}/stat/a`)).body.size, 8 * BLOCK, 'the file is unchanged');

  t.equal((await remove(`${P1}/files/a`)).status, 204, 'at once');
  t.equal((await get(`${P1}/files/a`)).status, 404);
  t.equal((await get(`${P1}/statfs`)).body.free_bytes, before, 'its blocks are kept');
  t.equal((await remove(`/v1/leases/${lease.id}`)).status, 204);
  let free = before;
  while (free === before) free = (await get(`${P1}/statfs`)).body.free_bytes;
  t.equal(free, before + 8 * BLOCK, 'and go with the lease');
});

t.test('refusals: what is said of an inode begins with the path that was given', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const { get, post, put, patch } = await openDaemon(t, { backing, size: '64M', init: true });
  const { inode } = (await post(`${P1}/mkdir`, { path: 'd' })).body;
  await put(`${P1}/files/d/a`, 'one');
  await post(`${P1}/symlink`, { path: 'd/l', target: 'a' });

  const truncated = await post(`${P1}/truncate`, { path: 'd', size: 0 });
  t.match(truncated.body, { code: 'EISDIR', detail: `"d": inode ${inode} is a directory` });
  const replaced = await put(`${P1}/files/d`, 'x');
  t.match(await replaced.json(), { detail: `"d": inode ${inode} is a directory` });
  const seek = await get(`${P1}/seek/d/a?offset=9&what=data`);
  t.match(seek, { status: 416, body: { detail: /^"d\/a": inode \d+: byte 9 / } });
  const attribute = await get(`${P1}/xattrs/d/a?name=user.x`);
  t.match(attribute.body, { code: 'ENODATA', detail: /^"d\/a": inode \d+ has no attribute / });
  const mode = await patch(`${P1}/stat/d/l`, { mode: 0o600 });
  t.match(mode.body, { code: 'EOPNOTSUPP', detail: /^"d\/l": inode \d+ is a symlink/ });
  const existing = await post(`${P1}/mkdir`, { path: 'd/a' });
  t.match(existing.body, { detail: /^"a" is there already/ }, 'one that has a name keeps it');
});
