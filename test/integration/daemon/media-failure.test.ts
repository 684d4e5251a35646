import { closeSync, openSync, readSync, rmSync, statSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { until } from '../../e2e/daxd.js';
import { debugfs } from '../../support/ext4-image.js';
import { requires } from '../../support/requires.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';
import { fillDisk, mountSmallTmpfs } from '../media/mounts.js';
import { openDaemon } from './set-up.js';

const P1 = '/v1/partitions/pmem0p1';

t.test('readyz: after an error of the media it says which filesystem is read-only', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const daemon = await openDaemon(t, { backing, size: '64M', init: true });
  t.equal((await daemon.put(`${P1}/files/a`, 'hello')).status, 201);
  t.match(await daemon.get('/readyz'), { status: 200, body: { ready: true } });

  // Nothing that daxd reads lies in the last page; it looks at the size before each commit.
  truncateSync(backing, statSync(backing).size - 4096);
  t.match(await daemon.post(`${P1}/mkdir`, { path: 'b' }), { status: 500, body: { code: 'EIO' } });
  t.match(await daemon.get('/readyz'), {
    status: 503,
    body: { ready: false, reasons: [/shrank from/, /pmem0p1 is read-only: .*media failed/] },
  });
  const metrics: string = (await daemon.get('/metrics')).body;
  t.match(metrics, /daxd_filesystem_read_only\{partition="pmem0p1"\} 1/);
  t.match(await daemon.post(`${P1}/mkdir`, { path: 'b' }), {
    status: 403,
    body: { code: 'EROFS' },
  });
  t.equal((await daemon.get(`${P1}/files/a`)).body, 'hello', 'what is there is read');
  t.equal((await daemon.get(`${P1}/files/b`)).status, 404, 'what failed is not');
});

t.test(
  'a backing that shrank: reads and grants are EIO, readyz says so, daxd goes on',
  async (t) => {
    const backing = join(temporaryDirectory(t), 'pmem0.img');
    const daemon = await openDaemon(t, { backing, size: '64M', init: true });
    const content = 'x'.repeat(1024 * 1024);
    for (let i = 0; i < 30; i++) await daemon.put(`${P1}/files/${i}`, content);
    truncateSync(backing, 20 * 1024 * 1024);
    const found = await Promise.all(
      Array.from({ length: 30 }, (_, i) => daemon.get(`${P1}/files/${i}`).catch(() => undefined)),
    );
    t.ok(
      found.some((answer) => answer?.body === content),
      'what is left can be read',
    );
    t.ok(
      found.some((answer) => answer?.body !== content),
      'what is gone cannot',
    );
    const lease = { partition: 'pmem0p1', path: '29', offset: 0, length: 4096, access: 'read' };
    t.match(await daemon.post('/v1/leases', { ...lease, ttl_ms: 60_000 }), {
      status: 500,
      body: { code: 'EIO', detail: /shrank from 67108864 to 20971520/ },
    });
    t.match(await daemon.get('/readyz'), { status: 503, body: { reasons: [/shrank from/] } });
  },
);

t.test('a backing that shrank: holders are still told that their lease is recalled', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const daemon = await openDaemon(t, { backing, size: '64M', init: true });
  await daemon.put(`${P1}/files/a`, 'hello');
  const lease = { partition: 'pmem0p1', path: 'a', offset: 0, length: 4096, access: 'read' };
  const granted = await daemon.post('/v1/leases', { ...lease, ttl_ms: 60_000 });
  const url = `/v1/leases/${granted.body.id}`;
  const truncate = daemon.post(`${P1}/truncate`, { path: 'a', size: 0 });
  await until(
    () => daemon.get(url),
    ({ body }) => body.recalls.length === 1,
  );
  truncateSync(backing, statSync(backing).size - 4096);
  t.match(await daemon.post(`${url}/renew`), {
    status: 200,
    body: { recalls: [{ ranges: [{ offset: 0, length: 4096 }] }] },
  });
  t.equal((await daemon.remove(url)).status, 204);
  t.match(await truncate, { status: 500, body: { code: 'EIO' } });
});

t.test('a sparse backing on a full disk: changes are ENOSPC until there is room', async (t) => {
  if (!requires(t, { commands: ['mount'], root: true })) return;
  const disk = mountSmallTmpfs(t, '24M');
  const backing = join(disk, 'pmem0.img');
  const daemon = await openDaemon(t, { backing, size: '64M', sparse: true, init: true });
  t.equal((await daemon.put(`${P1}/files/a`, 'hello')).status, 201);
  const filler = join(disk, 'filler');
  fillDisk(filler);
  const full = { status: 507, body: { code: 'ENOSPC', detail: /which is sparse, is full/ } };
  const large = 'x'.repeat(1024 * 1024);
  t.equal((await daemon.put(`${P1}/files/b`, large)).status, 507);
  t.match(await daemon.post(`${P1}/mkdir`, { path: 'c' }), full);
  t.equal((await daemon.get(`${P1}/files/a`)).body, 'hello');
  rmSync(filler);
  t.equal((await daemon.get(`${P1}/files/a`)).body, 'hello');
  t.equal((await daemon.put(`${P1}/files/b`, large)).status, 201);
  t.equal((await daemon.post(`${P1}/mkdir`, { path: 'c' })).status, 201);
  t.equal((await daemon.get('/readyz')).status, 200);
});

t.test('a directory with an inode that cannot be read shows all names', async (t) => {
  if (!requires(t, { commands: ['debugfs'] })) return;
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const first = await openDaemon(t, { backing, size: '64M', init: true });
  for (const name of ['a', 'b']) await first.put(`${P1}/files/${name}`, 'hello');
  const start = (await first.get('/v1/device')).body.namespace.data_offset;
  const [{ start: offset }] = (await first.get('/v1/partitions')).body;
  await first.close();
  const found = debugfs(`${backing}?offset=${start + offset}`, 'imap /a');
  const [, block, within] = /block (\d+), offset (0x[0-9a-f]+)/.exec(found) ?? [];
  const fd = openSync(backing, 'r+');
  // Its generation, which its checksum covers.
  const at = start + offset + Number(block) * 4096 + Number(within) + 0x64;
  writeSync(fd, Buffer.from([0xff, 0xfe, 0xfd, 0xfc]), 0, 4, at);
  closeSync(fd);
  const daemon = await openDaemon(t, { backing });
  const { entries } = (await daemon.get(`${P1}/files/`)).body;
  const shown = entries.map(({ name, size, error }: Record<string, unknown>) => [
    name,
    size,
    error,
  ]);
  t.match(
    shown.find(([name]: unknown[]) => name === 'a'),
    ['a', undefined, 'EBADMSG'],
  );
  t.match(
    shown.find(([name]: unknown[]) => name === 'b'),
    ['b', 5, undefined],
  );
  t.equal((await daemon.get(`${P1}/files/a`)).status, 500);
});

t.test('readyz: what the start was to mount and could not, until it is mounted', async (t) => {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const first = await openDaemon(t, { backing, size: '64M', init: true });
  const start = (await first.get('/v1/device')).body.namespace.data_offset;
  const [{ start: offset }] = (await first.get('/v1/partitions')).body;
  await first.close();
  // A bit of the checksum of the ext4's superblock.
  const at = start + offset + 1024 + 0x3fc;
  const fd = openSync(backing, 'r+');
  const checksum = Buffer.alloc(1);
  readSync(fd, checksum, 0, 1, at);
  const flip = (): void => {
    checksum[0] = (checksum[0] ?? 0) ^ 1;
    writeSync(fd, checksum, 0, 1, at);
  };
  flip();
  const daemon = await openDaemon(t, { backing });
  t.match(await daemon.get('/readyz'), {
    status: 503,
    body: { ready: false, reasons: [/^pmem0p1 is not mounted: .*superblock/] },
  });
  flip();
  closeSync(fd);
  t.equal((await daemon.post(`${P1}/mount`)).status, 200);
  t.equal((await daemon.get('/readyz')).status, 200);
});
