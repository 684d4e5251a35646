import t from 'tap';
import type { Test } from 'tap';

import { requires } from '../support/requires.js';
import { curl, post, startCurl, startDaxd, until } from './daxd.js';
import { kernelImages } from './images.js';

const kernelImage = await kernelImages(t);

async function setUp(t: Test, ...args: string[]) {
  const { path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image, ...args]);
  const lease = { partition: 'pmem0p1', path: 'big.txt', offset: 0, length: 4096, client: 'nic0' };
  const granted = await curl(
    ...post(`${daxd.url}/v1/leases`, { ...lease, access: 'read', ttl_ms: 60_000 }),
  );
  t.equal(granted.status, 201);
  const truncate = startCurl(
    post(`${daxd.url}/v1/partitions/pmem0p1/truncate`, { path: 'big.txt', size: 0 }),
  );
  await until(
    async () => (await curl(`${daxd.url}/v1/operations`)).json.operations,
    (operations) => operations.length > 0,
  );
  return { image, daxd, lease: granted.json, truncate };
}

/** The file that was about to be cut, and how its filesystem comes back. */
async function afterRestart(t: Test, image: string) {
  const daxd = await startDaxd(t, ['--backing', image]);
  const [partition] = (await curl(`${daxd.url}/v1/partitions`)).json;
  const { size } = (await curl(`${daxd.url}/v1/partitions/pmem0p1/stat/big.txt`)).json;
  return { daxd, filesystem: partition.filesystem, size };
}

t.test('SIGTERM: a truncate that waits gets draining, a release in time ends with 0', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { image, daxd, lease, truncate } = await setUp(t);
  daxd.child.kill('SIGTERM');
  const refused = await truncate.answer;
  t.equal(refused.status, 503);
  t.equal(refused.json.code, 'draining');
  t.equal((await curl(`${daxd.url}/readyz`)).status, 503);
  const late = await curl(...post(`${daxd.url}/v1/leases`, { ...lease, path: 'hello.txt' }));
  t.match([400, 503].includes(late.status), true);
  const mkdir = await curl(...post(`${daxd.url}/v1/partitions/pmem0p1/mkdir`, { path: 'x' }));
  t.equal(mkdir.json.code, 'draining');
  t.equal((await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${lease.id}`)).status, 204);
  t.equal(await daxd.exited, 0);

  const { filesystem, size, daxd: next } = await afterRestart(t, image);
  t.equal(size, 2908074, 'the file is unchanged');
  t.match(filesystem, { mounted: true, read_only: false });
  t.equal(await next.stop(), 0);
});

t.test(
  'SIGTERM: who still holds pages when the time is up is printed, and the exit is 1',
  async (t) => {
    if (!requires(t, { commands: ['curl'] })) return;
    const { image, daxd, lease } = await setUp(t, '--drain-timeout', '300ms');
    t.equal(await daxd.stop(), 1);
    t.match(
      daxd.stdout.at(-1),
      new RegExp(`still held: pmem0p1 big.txt, 1 pages, lease ${lease.id}, holder nic0`),
    );
    const { filesystem, size } = await afterRestart(t, image);
    t.equal(size, 2908074);
    t.match(filesystem, { mounted: true, read_only: false }, 'it was unmounted all the same');
  },
);

t.test('SIGTERM: a second signal exits at once with 1', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { daxd } = await setUp(t, '--drain-timeout', '60s');
  daxd.child.kill('SIGTERM');
  await until(
    async () => curl(`${daxd.url}/readyz`),
    ({ status }) => status === 503,
  );
  t.equal(await daxd.stop('SIGTERM'), 1);
});

t.test('SIGKILL: the journal brings the filesystem back, as it was and writable', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { image, daxd } = await setUp(t);
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
  t.equal((await curl(...post(`${p1}/mkdir`, { path: 'made' }))).status, 201);
  t.equal(await daxd.stop('SIGKILL'), null);
  const { daxd: next, filesystem, size } = await afterRestart(t, image);
  t.equal(size, 2908074, 'a truncate that waited has done nothing');
  t.match(filesystem, { mounted: true, read_only: false });
  const again = `${next.url}/v1/partitions/pmem0p1`;
  t.equal((await curl(`${again}/stat/made`)).json.type, 'directory', 'what was answered is there');
  t.equal((await curl(...post(`${again}/mkdir`, { path: 'x' }))).status, 201);
  t.equal((await curl(`${again}/files/hello.txt`)).status, 200);
  t.equal(await next.stop(), 0);
});
