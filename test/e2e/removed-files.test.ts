import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { fsck, runJudge } from '../support/ext4-image.js';
import { extract } from '../support/extract.js';
import { requires } from '../support/requires.js';
import { curl, partitionOffset, post, startDaxd, until } from './daxd.js';
import type { Daxd } from './daxd.js';
import { kernelImages } from './images.js';

const kernelImage = await kernelImages(t);

const PATH = 'big.txt';
const FIRST_PAGE = {
  partition: 'pmem0p1',
  path: PATH,
  offset: 0,
  length: 4096,
  access: 'read',
  ttl_ms: 60_000,
};

/** A daemon, and a lease of a file that was removed since. */
async function setUp(t: Test, ...args: string[]) {
  const { directory, path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image, ...args]);
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
  const lease = (await curl(...post(`${daxd.url}/v1/leases`, FIRST_PAGE))).json;
  const { blocks } = (await curl(`${p1}/stat/${PATH}`)).json;
  const free = await freeBytes(daxd);
  t.equal((await curl('-X', 'DELETE', `${p1}/files/${PATH}`)).status, 204, 'at once');
  t.equal((await curl(`${p1}/stat/${PATH}`)).status, 404);
  t.equal(await freeBytes(daxd), free, 'the blocks are not free yet');
  const place = await partitionOffset(daxd.url, 'pmem0p1');
  return { directory, image, daxd, p1, lease, bytes: blocks * 512, free, place };
}

async function freeBytes({ url }: Daxd): Promise<number> {
  const [partition] = (await curl(`${url}/v1/partitions`)).json;
  return partition.filesystem.free_bytes;
}

t.test('DELETE of a leased file: its name goes, the lease and its pages stay', async (t) => {
  if (!requires(t, { commands: ['curl', 'e2fsck'] })) return;
  const { directory, image, daxd, p1, lease, bytes, free, place } = await setUp(t);
  const leases = `${daxd.url}/v1/leases`;
  const { operations } = (await curl(`${daxd.url}/v1/operations`)).json;
  t.match(operations, [{ op: 'unlink', path: PATH, done: false, blocked_by: [lease.id] }]);
  t.match((await curl(`${leases}/${lease.id}`)).json, { state: 'recalling', path: PATH, pages: 1 });
  t.equal((await curl(...post(`${leases}/${lease.id}/renew`))).status, 200);
  const refused = await curl(...post(leases, FIRST_PAGE));
  t.equal(refused.status, 404);
  t.equal(refused.json.code, 'ENOENT');
  const put = await curl('-X', 'PUT', '--data-binary', 'another', `${p1}/files/${PATH}`);
  t.equal(put.status, 201);
  t.equal((await curl(...post(leases, { ...FIRST_PAGE, length: 7 }))).status, 201);

  t.equal((await curl(...post(`${leases}/${lease.id}/release`))).status, 200);
  const giveUp = AbortSignal.timeout(10_000);
  const after = await until(
    () => freeBytes(daxd),
    (now) => now > free || giveUp.aborted,
  );
  t.equal(after, free + bytes - 4096);
  const left = await until(
    async () => (await curl(`${daxd.url}/v1/operations`)).json.operations,
    ({ length }) => length === 0 || giveUp.aborted,
  );
  t.strictSame(left, [], 'the unlink has ended');
  const held = (await curl(leases)).json.leases;
  for (const { id } of held) await curl('-X', 'DELETE', `${leases}/${id}`);
  t.equal(await daxd.stop(), 0);
  const verdict = fsck(extract(image, place, join(directory, 'p1.img')));
  t.equal(verdict.status, 0, verdict.output);
});

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  t.test(`${signal} with a removed file still leased: freed once the lease ends`, async (t) => {
    if (!requires(t, { commands: ['curl', 'e2fsck'] })) return;
    const set = await setUp(t);
    const { directory, image, daxd, lease, bytes, free, place } = set;
    t.equal(await daxd.stop(signal), signal === 'SIGTERM' ? 0 : null);
    const copy = extract(image, place, join(directory, 'left.img'));
    t.match(runJudge('e2fsck', ['-fy', copy]).output, /Clearing orphaned inode \d+/);
    t.match(fsck(copy), { status: 0 });

    const next = await startDaxd(t, ['--backing', image]);
    t.equal(await freeBytes(next), free, 'the lease outlived the daemon, and its blocks with it');
    const [partition] = (await curl(`${next.url}/v1/partitions`)).json;
    t.match(partition.filesystem, { mounted: true, read_only: false });
    t.match((await curl(`${next.url}/v1/leases/${lease.id}`)).json, { extents: lease.extents });
    t.equal((await curl('-X', 'DELETE', `${next.url}/v1/leases/${lease.id}`)).status, 204);
    await until(
      () => freeBytes(next),
      (now) => now === free + bytes,
    );
    t.equal(await next.stop(), 0);
    t.match(fsck(extract(image, place, join(directory, 'p1.img'))), { status: 0 });
  });
}

t.test('DELETE of a file that is being read: it is read to its end', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { directory, path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image]);
  const url = `${daxd.url}/v1/partitions/pmem0p1/files/large`;
  const content = randomBytes(24 * MIB);
  const upload = join(directory, 'upload');
  writeFileSync(upload, content);
  t.equal((await curl('-X', 'PUT', '-T', upload, url)).status, 201);
  const free = await freeBytes(daxd);

  // Nothing takes its bytes for now, and it is more than the sockets hold.
  const [response] = (await once(get(url), 'response')) as [IncomingMessage];
  t.equal((await curl('-X', 'DELETE', url)).status, 204);
  t.equal((await curl(url)).status, 404);
  t.equal(await freeBytes(daxd), free, 'it is kept for the reader');
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  t.ok(Buffer.concat(pieces).equals(content));
  await until(
    () => freeBytes(daxd),
    (now) => now >= free + content.length,
  );
  t.equal(await daxd.stop(), 0);
});
