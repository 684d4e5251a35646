import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { fsck, runJudge } from '../support/ext4-image.js';
import { extract } from '../support/extract.js';
import { requires } from '../support/requires.js';
import { curl, partitionOffset, post, startCurl, startDaxd, startRefused, until } from './daxd.js';
import type { Daxd } from './daxd.js';
import { copySparse, kernelImages } from './images.js';

const kernelImage = await kernelImages(t);

const LEASE = { partition: 'pmem0p1', path: 'big.txt', offset: 0, length: 65_536, access: 'read' };

async function acquire({ url }: Daxd, lease: object = {}) {
  const body = { ...LEASE, ttl_ms: 60_000, client: 'nic0', ...lease };
  const granted = await curl(...post(`${url}/v1/leases`, body));
  if (granted.status !== 201) throw new Error(JSON.stringify(granted.json));
  return granted.json;
}

async function pinnedPages({ url }: Daxd): Promise<number> {
  return (await curl(`${url}/v1/device`)).json.pagemap.pinned_pages;
}

async function tagOf({ url }: Daxd, id: string): Promise<string> {
  const { headers } = await fetch(`${url}/v1/leases/${id}`);
  return headers.get('etag') ?? '';
}

/** Mounts a partition of an image by this machine's kernel, runs a command there, unmounts. */
function withKernel(t: Test, image: string, [offset, size]: [number, number], command: string) {
  const script = `set -e; m=$(mktemp -d); trap 'umount "$m" && rmdir "$m"' EXIT
    mount -o loop,offset=${offset},sizelimit=${size} "${image}" "$m"; cd "$m"; ${command}; cd /`;
  const { status, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
  t.equal(status, 0, stderr);
}

t.test('kill -9: raw leases and those of files are back before anything is served', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image]);
  const file = await acquire(daxd);
  const write = await acquire(daxd, { path: 'prealloc.bin', length: 8192, access: 'write' });
  await curl(
    ...post(`${daxd.url}/v1/leases/${file.id}/release`, { ranges: [{ offset: 0, length: 4096 }] }),
  );
  const gone = await acquire(daxd);
  t.equal((await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${gone.id}`)).status, 204);
  const pinned = await pinnedPages(daxd);
  const tag = await tagOf(daxd, file.id);
  await daxd.stop('SIGKILL');

  const next = await startDaxd(t, ['--backing', image]);
  t.equal(await pinnedPages(next), pinned);
  const { leases } = (await curl(`${next.url}/v1/leases?state=reclaimable`)).json;
  t.strictSame(
    leases.map((lease: { id: string }) => lease.id),
    [file.id, write.id],
  );
  t.match(leases[1].extents, write.extents);
  await curl(...post(`${next.url}/v1/leases/${file.id}/renew`));
  t.not(await tagOf(next, file.id), tag);
  const stale = ['-X', 'DELETE', '-H', `If-Match: ${tag}`, `${next.url}/v1/leases/${file.id}`];
  t.equal((await curl(...stale)).status, 412, 'it was reclaimable meanwhile');
  t.match((await curl(`${next.url}/v1/leases/${gone.id}`)).json, { state: 'released', pages: 0 });
  t.equal((await curl('-X', 'DELETE', `${next.url}/v1/leases/${gone.id}`)).status, 204);
  t.equal((await curl(...post(`${next.url}/v1/leases/${gone.id}/renew`))).status, 404);
  const truncate = startCurl(
    post(`${next.url}/v1/partitions/pmem0p1/truncate`, { path: 'prealloc.bin', size: 0 }),
  );
  await until(
    async () => (await curl(`${next.url}/v1/operations`)).json.operations,
    (operations) => operations.length > 0,
  );
  t.equal((await curl(...post(`${next.url}/v1/leases/${write.id}/renew`))).json.state, 'recalling');
  t.equal((await curl('-X', 'DELETE', `${next.url}/v1/leases/${write.id}`)).status, 204);
  t.equal((await truncate.answer).status, 200);
  t.equal((await curl(...post(`${next.url}/v1/partitions/pmem0p1/unmount`))).json.code, 'EBUSY');
  await curl('-X', 'DELETE', `${next.url}/v1/leases/${file.id}`);
  t.equal((await curl(...post(`${next.url}/v1/partitions/pmem0p1/unmount`))).status, 200);
  const raw = await acquire(next, { path: undefined, length: 4096 });
  await next.stop('SIGKILL');

  const last = await startDaxd(t, ['--backing', image]);
  const [partition] = (await curl(`${last.url}/v1/partitions`)).json;
  t.match(partition.filesystem, { mounted: false, error: { code: 'EBUSY', detail: /raw leases/ } });
  const format = await curl(...post(`${last.url}/v1/partitions/pmem0p1/format`, { force: true }));
  t.equal(format.json.code, 'EBUSY');
  await curl('-X', 'DELETE', `${last.url}/v1/leases/${raw.id}`);
  t.equal((await curl(...post(`${last.url}/v1/partitions/pmem0p1/mount`))).status, 200);
  t.equal(await last.stop(), 0);
});

t.test('leases of other media are refused, and nothing is touched', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { directory, path: image } = kernelImage(t);
  const older = join(directory, 'older.img');
  copySparse(image, older);
  const state = join(directory, 'state');
  const args = ['--state-dir', state];
  const daxd = await startDaxd(t, ['--backing', image, ...args]);
  t.ok(existsSync(state));
  const { id } = await acquire(daxd);
  await daxd.stop('SIGKILL');

  const refused = startRefused(['--backing', older, ...args]);
  t.equal(refused.exit, 1);
  t.match(refused.stderr, new RegExp(`${id} the first.*older state`));
  const other = join(directory, 'other.img');
  t.match(
    startRefused(['--backing', other, '--size', '64M', '--init', ...args]).stderr,
    /namespace/,
  );
  const next = await startDaxd(t, ['--backing', image, ...args]);
  t.match(
    startRefused(['--backing', older, ...args]).stderr,
    /another daemon keeps its leases/,
    'one daemon a store',
  );
  await curl('-X', 'DELETE', `${next.url}/v1/leases/${id}`);
  t.equal(await next.stop(), 0);
  const free = await startDaxd(t, ['--backing', older, ...args]);
  t.equal(await free.stop(), 0, 'without a lease a store belongs to nobody');
});

t.test('a copy of the media from before daxd left them last is refused', async (t) => {
  if (!requires(t, { root: true, commands: ['curl', 'mount', 'losetup', 'e2fsck'] })) return;
  const { directory, path: image } = kernelImage(t);
  const live = join(directory, 'live.img');
  const args = ['--state-dir', join(directory, 'state')];
  const daxd = await startDaxd(t, ['--backing', image, ...args]);
  const place = await partitionOffset(daxd.url, 'pmem0p1');
  const { id } = await acquire(daxd);
  // The leased file stays as it is: nothing but the superblock tells that the copy is an older one.
  copySparse(image, live);
  // Superblocks count in seconds.
  await setTimeout(1_100);
  t.equal(await daxd.stop(), 0);
  t.match(startRefused(['--backing', live, ...args]).stderr, new RegExp(`${id}.*older state`));

  const left = join(directory, 'left.img');
  copySparse(image, left);
  const next = await startDaxd(t, ['--backing', image, ...args]);
  await next.stop('SIGKILL');
  t.match(startRefused(['--backing', left, ...args]).stderr, new RegExp(`${id}.*older state`));

  withKernel(t, image, place, 'touch by-the-kernel');
  const { status, output } = runJudge('e2fsck', ['-fy', `${image}?offset=${place[0]}`]);
  t.equal(status, 0, output);
  const last = await startDaxd(t, ['--backing', image, ...args]);
  t.match(
    (await curl(`${last.url}/v1/leases/${id}`)).json,
    { id, state: 'reclaimable' },
    'the kernel mounted it, and e2fsck counted the mounts anew',
  );
  await curl('-X', 'DELETE', `${last.url}/v1/leases/${id}`);
  t.equal(await last.stop(), 0);
});

t.test('a backing under another name has the leases that it had', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { directory, path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image]);
  const { id } = await acquire(daxd);
  await daxd.stop('SIGKILL');
  const alias = join(directory, 'alias');
  symlinkSync(image, alias);
  const next = await startDaxd(t, ['--backing', alias]);
  t.match((await curl(`${next.url}/v1/leases/${id}`)).json, { id, state: 'reclaimable' });
  await next.stop();
});

t.test('a damaged store refuses to serve, and says how to go on', async (t) => {
  const { path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image]);
  await acquire(daxd);
  t.equal(await daxd.stop(), 0);
  const store = join(`${image}.leases`, 'leases.mdb');
  t.strictSame(readdirSync(`${image}.leases`).toSorted(), [
    'leases.mdb',
    'leases.mdb-lock',
    'leases.renewed',
  ]);
  const bytes = readFileSync(store);
  const middle = bytes.lastIndexOf('"nic0"');
  writeFileSync(store, bytes.fill(0, middle - 8, middle));
  const { exit, stderr } = startRefused(['--backing', image]);
  t.equal(exit, 1);
  t.match(stderr, /EBADMSG|cannot be read/);
  t.match(stderr, /move the directory away/);
});

t.test('a kernel that changed a leased file meanwhile: quarantine, and no reuse', async (t) => {
  const commands = ['curl', 'mount', 'e2fsck'];
  if (!requires(t, { commands, root: true })) return;
  const { path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image]);
  const place = await partitionOffset(daxd.url, 'pmem0p1');
  const same = await acquire(daxd, { path: 'hello.txt', length: 10 });
  const moved = await acquire(daxd);
  const pinned = await pinnedPages(daxd);
  t.equal(await daxd.stop(), 0);
  withKernel(t, image, place, 'echo a line >> dir/new; truncate -s 0 big.txt; sync');

  const next = await startDaxd(t, ['--backing', image]);
  t.equal(await pinnedPages(next), pinned, 'the old pages stay pinned');
  t.match((await curl(`${next.url}/v1/leases/${moved.id}`)).json, {
    state: 'quarantined',
    quarantined: /lie elsewhere now/,
    extents: moved.extents,
  });
  t.equal((await curl(...post(`${next.url}/v1/leases/${same.id}/renew`))).json.state, 'active');
  const renewed = await curl(...post(`${next.url}/v1/leases/${moved.id}/renew`));
  t.equal(renewed.status, 410);
  t.equal(renewed.json.code, 'lease-revoked');
  const ready = await curl(`${next.url}/readyz`);
  t.equal(ready.status, 503);
  t.match(ready.json.reasons, [/media were changed under 1 lease$/]);
  const put = await curl(...post(`${next.url}/v1/partitions/pmem0p1/mkdir`, { path: 'd' }));
  t.equal(put.json.code, 'EROFS', 'its free blocks may be pinned');
  t.match(put.json.detail, /left their files/);
  const reason = { reason: 'its device is off' };
  const attest = post(`${next.url}/v1/quarantine/${moved.id}/attest`, reason);
  t.equal((await curl(...attest)).status, 200);
  const p1 = `${next.url}/v1/partitions/pmem0p1`;
  t.equal((await curl(...post(`${p1}/mkdir`, { path: 'd' }))).status, 201);
  t.equal((await curl(`${next.url}/readyz`)).status, 200);
  t.equal(await next.stop(), 0);
  t.match(fsck(extract(image, place, join(image, '..', 'p1.img'))), { status: 0 });
});

t.test('a filesystem that may change again goes on with the operations that wait', async (t) => {
  const commands = ['curl', 'mount'];
  if (!requires(t, { commands, root: true })) return;
  const { path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image]);
  const place = await partitionOffset(daxd.url, 'pmem0p1');
  const moved = await acquire(daxd);
  const asked = { path: 'prealloc.bin', length: 4096, access: 'write' };
  const holder = await acquire(daxd, asked);
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
  const truncate = post(`${p1}/truncate`, { path: 'prealloc.bin', size: 0 });
  const { json: begun } = await curl('-H', 'Prefer: respond-async', ...truncate);
  t.equal(await daxd.stop(), 0);
  withKernel(t, image, place, 'truncate -s 0 big.txt');

  const next = await startDaxd(t, ['--backing', image]);
  const operation = `${next.url}/v1/operations/${begun.id}`;
  t.match((await curl(operation)).json, { state: 'waiting' }, 'it is parked');
  t.equal((await curl('-X', 'DELETE', `${next.url}/v1/leases/${moved.id}`)).status, 204);
  t.match((await curl(operation)).json, { state: 'waiting', blocked_by: [holder.id] });
  const body = { ...LEASE, ...asked, ttl_ms: 60_000 };
  t.equal((await curl(...post(`${next.url}/v1/leases`, body))).json.code, 'recall-conflict');
  t.equal((await curl('-X', 'DELETE', `${next.url}/v1/leases/${holder.id}`)).status, 204);
  t.match((await curl(`${operation}?wait_ms=20000`)).json, { done: true, result: { size: 0 } });
  t.equal(await next.stop(), 0);
});
