import { closeSync, existsSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { Mount } from '../../../src/daemon/mount.js';
import { Listener } from '../../../src/http/listeners.js';
import { systemClock } from '../../../src/lib/clock.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { MIB } from '../../../src/lib/units.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';
import { openDaemon } from './set-up.js';

const P1 = '/v1/partitions/pmem0p1';
const P2 = '/v1/partitions/pmem0p2';

t.test(
  'open: --init makes a namespace, a partition and an ext4; the next start finds them',
  async (t) => {
    const backing = join(temporaryDirectory(t), 'pmem0.img');
    const first = await openDaemon(t, { backing, size: '64M', init: true });
    t.match((await first.get('/v1/device')).body, {
      namespace: { mode: 'fsdax', map: 'dev', align: 2 * MIB },
      pagemap: { managed_users: 1 },
    });
    t.match((await first.get('/v1/partitions')).body, [
      { name: 'pmem0p1', filesystem: { type: 'ext4', mounted: true, read_only: false } },
    ]);
    t.equal((await first.put(`${P1}/files/a`, 'hello')).status, 201);
    t.strictSame(await first.close(), { held: [], isInOrder: true });

    const isBlankNoMore = { code: 'EEXIST' };
    await t.rejects(openDaemon(t, { backing, init: true }), isBlankNoMore);
    const second = await openDaemon(t, { backing, size: '1G' });
    t.equal((await second.get('/v1/device')).body.backing.size, 64 * MIB, 'never resized');
    t.equal((await second.get(`${P1}/files/a`)).body, 'hello');
  },
);

/** Has a method fail, until what is returned is called or the test ends. */
function failing<Of extends object>(
  t: Test,
  of: Of,
  method: keyof Of,
  error: DaxdError,
): () => void {
  const value = async (): Promise<never> => {
    throw error;
  };
  return t.intercept(of, method, { value }).restore;
}

t.test('close: where an unmount fails, all else is given back', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const daemon = await openDaemon(t, { backing, size: '64M', init: true });
  t.equal((await daemon.put(`${P1}/files/a`, 'hello')).status, 201);
  const mend = failing(t, Mount.prototype, 'unmount', new DaxdError('EIO', 'no medium'));
  t.strictSame(await daemon.close(), { held: [], isInOrder: false });
  mend();
  const next = await openDaemon(t, { backing });
  t.equal((await next.get(`${P1}/files/a`)).body, 'hello');
});

t.test('open: --force-raw is refused while leases of pages are kept', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const daemon = await openDaemon(t, { backing, size: '64M', init: true, mode: 'raw' });
  await daemon.post('/v1/partitions/pmem0p1/unmount');
  const asked = { partition: 'pmem0p1', offset: 0, length: 4096, access: 'read', ttl_ms: 60_000 };
  const { id } = (await daemon.post('/v1/leases', asked)).body;
  await daemon.close();
  const message = /start without it and have them released/;
  await t.rejects(openDaemon(t, { backing, forceRaw: true }), { code: 'EBUSY', message });
  const next = await openDaemon(t, { backing, mount: 'none' });
  t.equal((await next.remove(`/v1/leases/${id}`)).status, 204);
  await next.close();
  await (await openDaemon(t, { backing, forceRaw: true })).close();
});

t.test('mount: read_only false is refused where daxd writes nothing', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  await (await openDaemon(t, { backing, size: '64M', init: true })).close();
  const daemon = await openDaemon(t, { backing, readOnly: true, mount: 'none' });
  const refused = await daemon.post(`${P1}/mount`, { read_only: false });
  t.match(refused, { status: 403, body: { code: 'EROFS' } });
  const mounted = await daemon.post(`${P1}/mount`);
  t.match(mounted, { status: 200, body: { filesystem: { read_only: true } } });
});

t.test('open: where giving back fails, too, the reason of the start is what is said', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  await (await openDaemon(t, { backing, size: '64M', init: true })).close();
  failing(t, Mount.prototype, 'unmount', new DaxdError('EIO', 'no medium'));
  failing(t, Listener, 'open', new DaxdError('EEXIST', 'taken meanwhile'));
  await t.rejects(openDaemon(t, { backing }), { code: 'EEXIST' });
});

t.test('open: a failure gives everything back', async (t) => {
  const directory = temporaryDirectory(t);
  const backing = join(directory, 'pmem0.img');
  const socket = join(directory, 'taken');
  writeFileSync(socket, '');
  const options = { backing, size: '64M', init: true };
  const listen = [`unix:${join(directory, 'free')}`, `unix:${socket}`];
  await t.rejects(openDaemon(t, { ...options, listen }), { code: 'EEXIST' });
  t.equal(existsSync(join(directory, 'free')), false, 'the first socket is closed');
  t.equal(existsSync(backing), false, 'before anything is written');
  await t.rejects(openDaemon(t, { ...options, nbd: listen }), { code: 'EEXIST' });
  await t.rejects(openDaemon(t, { ...options, nbdTlsPsk: join(directory, 'no') }), {
    code: 'ENOENT',
  });
  t.equal(existsSync(backing), false);
  await t.rejects(openDaemon(t, { ...options, align: '1G' }), { code: 'ENXIO' });
  t.equal(existsSync(backing), false, 'what it made is gone');

  const stateDir = join(directory, 'state');
  const other = await openDaemon(t, { backing: `${backing}2`, size: '64M', init: true, stateDir });
  await t.rejects(openDaemon(t, { ...options, stateDir }), { code: 'EBUSY' });
  await t.rejects(openDaemon(t, { ...options, stateDir: '/proc/none' }), { code: 'ENOENT' });
  await other.close();
  await t.rejects(openDaemon(t, { ...options, mount: 'pmem0p7' }), { code: 'EINVAL' });
  await t.rejects(openDaemon(t, { ...options, init: false, mount: 'pmem0p7' }), { code: 'ENOENT' });
  t.equal(existsSync(backing), false, 'nor do a wrong store or mount leave one');

  await (await openDaemon(t, options)).close();
  await t.rejects(openDaemon(t, { backing, mount: 'pmem0p7' }), { code: 'ENOENT' });
  const daemon = await openDaemon(t, { backing });
  t.match(
    (await daemon.get('/v1/partitions')).body[0].filesystem,
    { mounted: true, read_only: false },
    'unlocked, and unmounted cleanly',
  );
});

t.test('partitions: a new one shows no failure of a deleted one of its name', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const { get, post, remove } = await openDaemon(t, { backing, size: '96M', init: true });
  await post(`${P1}/unmount`);
  await remove(P1);
  await post('/v1/partitions', { label: 'other', size: 40 * MIB });
  await post('/v1/partitions', { label: 'empty' });
  t.equal((await post(`${P2}/mount`)).status, 400, 'nothing to mount');
  const { error } = (await get('/v1/partitions')).body[1].filesystem;
  t.match(error, { code: 'EINVAL' });
  t.match((await get(`${P2}/files`)).body.detail, error.detail);

  t.equal((await remove(P2)).status, 204);
  const anew = await post('/v1/partitions', { label: 'anew' });
  t.match(anew, { status: 201, body: { name: 'pmem0p2', filesystem: null } });
  t.strictSame((await get('/v1/partitions')).body[1].filesystem, null);
  t.match(
    (await get(`${P2}/files`)).body.detail,
    /^pmem0p2 is not mounted: daxd mount pmem0p2, or POST/,
  );
});

t.test('partitions: added, formatted, mounted, unmounted, deleted', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const { get, post, put, remove } = await openDaemon(t, { backing, size: '96M', init: true });
  t.equal((await remove(P1)).body.code, 'EBUSY', 'it is mounted');
  t.match((await post(`${P1}/mount`)).body, { code: 'EBUSY' });
  t.match((await post(`${P1}/format`, { force: true })).body, { code: 'EBUSY' });
  t.match((await post(`${P1}/unmount`)).body, { filesystem: { mounted: false } });
  t.match((await post(`${P1}/unmount`)).body, { code: 'EINVAL' });
  t.match((await get(`${P1}/files`)).body, { code: 'ENODEV', status: 409 });
  t.match((await post(`${P1}/format`)).body, { code: 'EEXIST' });
  t.equal((await remove(P1)).status, 204);
  t.strictSame((await get('/v1/partitions')).body, []);

  const one = await post('/v1/partitions', { label: 'one', size: 40 * MIB });
  t.match(one, { status: 201, body: { name: 'pmem0p1', label: 'one', size: 40 * MIB } });
  t.match((await post('/v1/partitions', { label: 'two' })).body, { name: 'pmem0p2' });
  t.match((await post('/v1/partitions', { label: 'three' })).body, { code: 'ENOSPC' });
  t.match((await post(`${P2}/mount`)).status, 400, 'nothing to mount yet');
  t.match((await get('/v1/partitions')).body[1].filesystem.error, { code: 'EINVAL' });

  t.match((await post(`${P2}/format`, { label: 'data' })).body, {
    filesystem: { type: 'ext4', label: 'data', mounted: false },
  });
  t.match((await post(`${P2}/mount`, { read_only: true })).body, {
    filesystem: { mounted: true, read_only: true },
  });
  t.equal((await put(`${P2}/files/a`, 'x')).status, 403);
  t.equal((await post(`${P2}/unmount`)).status, 200);
  t.match((await post(`${P2}/mount`)).body, { filesystem: { read_only: false } });
  t.equal((await put(`${P2}/files/a`, 'x')).status, 201);
  t.equal((await get('/v1/partitions/pmem0p9/files/a')).status, 404);
});

t.test('restart: the same media after the clock was set back', async (t) => {
  const options = { backing: join(temporaryDirectory(t), 'pmem0.img'), size: '64M', init: true };
  let aheadMs = 3_600_000;
  const clock = { ...systemClock, wallMs: () => systemClock.wallMs() + aheadMs };
  const first = await openDaemon(t, options, clock);
  await first.put(`${P1}/files/a`, 'hello');
  const terms = { offset: 0, length: 5, access: 'read', ttl_ms: 60_000 };
  const asked = { partition: 'pmem0p1', path: 'a', ...terms };
  const { id } = (await first.post('/v1/leases', asked)).body;
  aheadMs = 0;
  await first.close();
  const second = await openDaemon(t, { backing: options.backing }, clock);
  t.match((await second.get(`/v1/leases/${id}`)).body, { state: 'reclaimable', pages: 1 });
  await second.remove(`/v1/leases/${id}`);
});

t.test('restart: the holder of a raw lease stored over an old ext4', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const first = await openDaemon(t, { backing, size: '64M', init: true });
  await first.post(`${P1}/unmount`);
  const terms = { offset: 0, length: 4096, access: 'write', ttl_ms: 60_000 };
  const { id, extents } = (await first.post('/v1/leases', { partition: 'pmem0p1', ...terms })).body;
  const file = openSync(backing, 'r+');
  writeSync(file, Buffer.alloc(4096, 0xaa), 0, 4096, extents[0].device_offset);
  closeSync(file);
  await first.close();
  const second = await openDaemon(t, { backing });
  t.match((await second.get(`/v1/leases/${id}`)).body, { state: 'reclaimable', pages: 1 });
  await second.remove(`/v1/leases/${id}`);
});

t.test(
  'leases: on a raw partition they keep it from being mounted, on files from being unmounted',
  async (t) => {
    const backing = join(temporaryDirectory(t), 'pmem0.img');
    const { get, post, put, remove } = await openDaemon(t, { backing, size: '64M', init: true });
    const asked = { partition: 'pmem0p1', offset: 0, length: 4096, access: 'write', ttl_ms: 5_000 };
    await put(`${P1}/files/a`, 'hello');
    const file = (await post('/v1/leases', { ...asked, path: '/a' })).body;
    t.match(file, { state: 'active', path: 'a', pages: 1, backing_path: backing });
    t.match((await post(`${P1}/unmount`)).body, { code: 'EBUSY' });
    t.equal((await remove(`/v1/leases/${file.id}`)).status, 204);
    t.equal((await post(`${P1}/unmount`)).status, 200);

    const raw = (await post('/v1/leases', { ...asked, length: 2 * MIB })).body;
    t.match(raw, { pages: 512, extents: [{ file_offset: 0, length: 2 * MIB }] });
    t.match((await post(`${P1}/mount`)).body, { code: 'EBUSY' });
    t.match((await remove(P1)).body, { code: 'EBUSY' });
    t.equal((await get('/v1/device')).body.pagemap.pinned_pages, 512);
    t.match((await get('/metrics')).body, /^daxd_pinned_pages\{partition="pmem0p1"\} 512$/m);
    await post(`/v1/leases/${raw.id}/release`);
    t.equal((await post(`${P1}/mount`)).status, 200);
  },
);

t.test('mount: a filesystem that will not mount shows why, and the daemon goes on', async (t) => {
  const backing = join(temporaryDirectory(t), 'noise.img');
  const bytes = Buffer.alloc(32 * MIB);
  bytes.writeUInt16LE(0xef53, 1080);
  writeFileSync(backing, bytes);
  const { get } = await openDaemon(t, { backing, mount: 'pmem0' });
  const [whole] = (await get('/v1/partitions')).body;
  t.match(whole, { name: 'pmem0', number: 0, filesystem: { mounted: false } });
  t.type(whole.filesystem.error.code, 'string');
  t.type(whole.filesystem.error.detail, 'string');
  t.match(await get('/readyz'), { status: 503, body: { reasons: [/is not mounted/] } });
});

t.test('close: leases go on with the next daemon, and the media are clean', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const first = await openDaemon(t, { backing, size: '64M', init: true });
  await first.put(`${P1}/files/a`, 'hello');
  const asked = { partition: 'pmem0p1', path: 'a', offset: 0, length: 5, access: 'read' };
  const { id } = (await first.post('/v1/leases', { ...asked, ttl_ms: 5_000 })).body;
  t.strictSame((await first.close()).held, [], 'nobody is left out');
  const second = await openDaemon(t, { backing });
  t.match((await second.get('/v1/partitions')).body[0].filesystem, { read_only: false });
  t.match((await second.get(`/v1/leases/${id}`)).body, {
    state: 'reclaimable',
    path: 'a',
    pages: 1,
  });
});

t.test('files: every call on a real ext4', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const { get, post, put, remove } = await openDaemon(t, { backing, size: '64M', init: true });
  const content = 'x'.repeat(20_000);
  t.equal((await put(`${P1}/files/a`, content)).status, 201);
  t.equal((await put(`${P1}/files/a`, content)).status, 204);
  const range = { path: 'a', offset: 4096, length: 4096 };
  t.match((await post(`${P1}/punch-hole`, range)).body, { size: 20_000, freed_bytes: 4096 });
  t.match((await post(`${P1}/fallocate`, range)).body, { size: 20_000, freed_bytes: 0 });
  const far = { path: 'a', offset: 8192, length: 20_000 };
  t.match((await post(`${P1}/zero-range`, { ...far, keep_size: true })).body, { size: 20_000 });
  t.match((await post(`${P1}/zero-range`, far)).body, { size: 28_192 });
  t.equal((await get(`${P1}/files/a`)).body, 'x'.repeat(4096).padEnd(28_192, '\0'));
  t.equal((await post(`${P1}/fallocate`, { ...far, length: 2 ** 50 })).status >= 400, true);

  t.equal((await post(`${P1}/mkdir`, { path: 'd' })).status, 201);
  t.equal((await post(`${P1}/rename`, { from: 'a', to: 'd/b' })).status, 204);
  t.equal((await post(`${P1}/symlink`, { path: 'l', target: 'd/b' })).status, 201);
  t.equal((await get(`${P1}/stat/l`)).body.type, 'symlink');
  t.equal((await get(`${P1}/files/l`)).body.length, 28_192);
  t.match((await remove(`${P1}/files/d`)).body, { code: 'ENOTEMPTY' });
  t.match((await put(`${P1}/files/d`, 'x')).status, 409);
  t.match((await put(`${P1}/files/none/x`, 'x')).status, 404);
  t.match((await put(`${P1}/files/`, 'x')).status, 409);
  t.match((await get(`${P1}/files/${'n'.repeat(256)}`)).body, { code: 'ENAMETOOLONG' });
  t.equal((await post(`${P1}/symlink`, { path: 'loop', target: 'loop' })).status, 201);
  t.match((await get(`${P1}/files/loop`)).body, { code: 'ELOOP' });
  for (const path of ['d/b', 'd', 'l', 'loop']) {
    t.equal((await remove(`${P1}/files/${path}`)).status, 204, path);
  }
  const { entries } = (await get(`${P1}/files`)).body;
  t.strictSame(
    entries.map(({ name }: { name: string }) => name),
    ['lost+found'],
  );
});

t.test('leases of files keep raw ones off, though nothing is mounted', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const lease = { partition: 'pmem0p1', offset: 0, length: 4096, ttl_ms: 60_000 };
  const first = await openDaemon(t, { backing, size: '64M', init: true });
  await first.put(`${P1}/files/a`, 'x'.repeat(4096));
  const file = await first.post('/v1/leases', { ...lease, path: 'a', access: 'read' });
  t.equal(file.status, 201);
  await first.close();

  const { post, remove } = await openDaemon(t, { backing, mount: 'none' });
  for (const access of ['read', 'write']) {
    const refused = await post('/v1/leases', { ...lease, access });
    t.match(refused, { status: 409, body: { code: 'EBUSY', detail: /has 1 lease of files/ } });
  }
  t.equal((await remove(`/v1/leases/${file.body.id}`)).status, 204);
  t.equal((await post('/v1/leases', { ...lease, access: 'write' })).status, 201);
});
