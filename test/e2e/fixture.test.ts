import { createHash } from 'node:crypto';

import t from 'tap';

import { FIXTURE_EXTENTS, FIXTURE_FILES } from '../support/fixture.js';
import { requires } from '../support/requires.js';
import { curl, startDaxd } from './daxd.js';
import { kernelImages, sameBytes } from './images.js';

const kernelImage = await kernelImages(t);

const BLOCK = 4096;

t.test('serve: shows the namespace of a real kernel as it is', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { path: image, pristine } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image, '--read-only']);
  t.match(daxd.stdout, [/^daxd ready pmem0 http:\/\/127\.0\.0\.1:\d+$/]);

  const device = (await curl(`${daxd.url}/v1/device`)).json;
  t.match(device.backing, { path: image, kind: 'file', size: 268435456, align: 4096 });
  t.match(device.namespace, {
    mode: 'fsdax',
    map: 'dev',
    uuid: '2500be98-0529-4248-a91d-331db61bd1d3',
    data_offset: 6291456,
    npfns: 64000,
    align: 2097152,
    info_block_version: '1.4',
  });
  t.match(device.pagemap, { type: 'fsdax', pages: 64000, pinned_pages: 0, managed_users: 1 });
  t.strictSame(device.disk, { name: 'pmem0', size: 262144000, logical_block_size: 512 });
  t.ok(device.attach.length > 10 && device.attach.every(({ ok }: { ok: boolean }) => ok));

  const [data, scratch, ...others] = (await curl(`${daxd.url}/v1/partitions`)).json;
  t.strictSame(others, []);
  t.match(data, {
    name: 'pmem0p1',
    number: 1,
    label: 'data',
    size: 67108864,
    dax: { supported: true },
    filesystem: { type: 'ext4', label: 'daxdata', mounted: true, read_only: true },
  });
  t.match(scratch, {
    name: 'pmem0p2',
    label: 'scratch',
    dax: { supported: false, errno: 'EINVAL' },
  });

  const start = device.namespace.data_offset + data.start;
  for (const [path, [size, blocks, nlink, sha256]] of Object.entries(FIXTURE_FILES)) {
    const { body, status } = await curl(`${daxd.url}/v1/partitions/pmem0p1/stat/${path}`);
    t.equal(status, 200);
    t.match(JSON.parse(body), { type: 'file', size, blocks, nlink, pinned_pages: 0 }, path);
    const bytes = await fetch(`${daxd.url}/v1/partitions/pmem0p1/files/${path}`);
    const digest = createHash('sha256').update(Buffer.from(await bytes.arrayBuffer()));
    t.equal(digest.digest('hex'), sha256, path);
  }
  for (const [path, extents] of Object.entries(FIXTURE_EXTENTS)) {
    const stat = (await curl(`${daxd.url}/v1/partitions/pmem0p1/stat/${path}`)).json;
    t.strictSame(
      stat.extents,
      extents.map(([logical, physical, blocks, unwritten]) => ({
        file_offset: logical * BLOCK,
        device_offset: start + physical * BLOCK,
        length: blocks * BLOCK,
        unwritten,
      })),
      path,
    );
  }

  t.equal(await daxd.stop(), 0);
  t.ok(sameBytes(image, pristine), 'not one byte of the media changed');
});

t.test('serve: directories, symlinks and ranges of the fixture', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image]);
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;

  const root = (await curl(`${p1}/files/`)).json;
  const names = root.entries.map(({ name }: { name: string }) => name).toSorted();
  t.strictSame(names, ['big.txt', 'dir', 'hello.txt', 'lost+found', 'prealloc.bin', 'sparse.bin']);
  const sub = (await curl(`${p1}/files/dir/sub`)).json.entries;
  t.equal(sub.length, 300);
  for (const { name } of sub.filter((_: unknown, i: number) => i % 37 === 0)) {
    const number = Number(name.slice('file-'.length, -'.txt'.length));
    t.match((await curl(`${p1}/files/dir/sub/${name}`)).body, new RegExp(`^n=${number}\\b`));
  }
  const listed: string[] = [];
  for (let cursor = ''; ;) {
    const page = (await curl(`${p1}/files/dir/sub?limit=100${cursor}`)).json;
    listed.push(...page.entries.map(({ name }: { name: string }) => name));
    if (page.next_cursor === undefined) break;
    cursor = `&cursor=${page.next_cursor}`;
  }
  t.strictSame(listed, sub.map(({ name }: { name: string }) => name).toSorted());

  t.match((await curl(`${p1}/stat/dir/soft`)).json, { type: 'symlink', target: '../hello.txt' });
  const hello = (await curl(`${p1}/files/hello.txt`)).body;
  t.equal((await curl(`${p1}/files/dir/soft`)).body, hello, 'a read follows it');
  const part = await curl('-H', 'range: bytes=2-4', `${p1}/files/hello.txt`);
  t.equal(part.status, 206);
  t.equal(part.body, hello.slice(2, 5));
  t.equal((await curl('-H', 'range: bytes=11-', `${p1}/files/hello.txt`)).status, 416);
  t.equal(await daxd.stop(), 0);
});
