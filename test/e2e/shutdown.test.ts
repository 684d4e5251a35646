import { setTimeout } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { beginUpload, curl, post, startCurl, startDaxd, until, whenDraining } from './daxd.js';
import { kernelImages } from './images.js';
import { mutant, PLACES } from './mutant.js';

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
  const { secret: _, ...shown } = granted.json;
  return { image, daxd, lease: shown, truncate };
}

/** The file that was about to be cut, and how its filesystem comes back. */
async function afterRestart(t: Test, image: string) {
  const daxd = await startDaxd(t, ['--backing', image]);
  const [partition] = (await curl(`${daxd.url}/v1/partitions`)).json;
  const { size } = (await curl(`${daxd.url}/v1/partitions/pmem0p1/stat/big.txt`)).json;
  return { daxd, filesystem: partition.filesystem, size };
}

t.test(
  'SIGTERM: a truncate that waits gets draining; the lease goes on with the next daemon',
  async (t) => {
    if (!requires(t, { commands: ['curl'] })) return;
    const { image, daxd, lease, truncate } = await setUp(t);
    const exit = daxd.stop();
    const refused = await truncate.answer;
    t.equal(refused.status, 503);
    t.equal(refused.json.code, 'draining');
    t.equal(await exit, 0, 'nobody has to release for it');

    const { filesystem, size, daxd: next } = await afterRestart(t, image);
    t.equal(size, 2908074, 'the file is unchanged');
    t.match(filesystem, { mounted: true, read_only: false }, 'it was unmounted');
    const url = `${next.url}/v1/leases/${lease.id}`;
    t.match((await curl(url)).json, { ...lease, state: 'reclaimable', remaining_ttl_ms: Number });
    const again = startCurl(
      post(`${next.url}/v1/partitions/pmem0p1/truncate`, { path: 'big.txt', size: 0 }),
    );
    await until(
      async () => (await curl(`${next.url}/v1/operations`)).json.operations,
      ([operation]) => operation?.blocked_by[0] === lease.id,
    );
    t.match((await curl(...post(`${url}/renew`))).json, { state: 'recalling' });
    t.equal((await curl('-X', 'DELETE', url)).status, 204);
    t.match(await again.answer, { status: 200, json: { size: 0 } });
    t.equal(await next.stop(), 0);
  },
);

t.test('SIGUSR1, SIGUSR2: no debugger is opened, and daxd goes on', async (t) => {
  const daxd = await startDaxd(t, [], scratchDirectory(t));
  for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) {
    daxd.child.kill(signal);
    await setTimeout(200);
    t.equal((await curl(`${daxd.url}/livez`)).status, 200, signal);
  }
  t.equal(await daxd.stop(), 0);
  t.notMatch(daxd.stderr.join('\n'), /debugger/i);
});

t.test('SIGINT, SIGHUP: the filesystem is unmounted, as with SIGTERM', async (t) => {
  for (const signal of ['SIGINT', 'SIGHUP'] as const) {
    const { path: image } = kernelImage(t);
    const daxd = await startDaxd(t, ['--backing', image]);
    t.equal(await daxd.stop(signal), 0, signal);
    t.ok(daxd.stderr.some((line) => line.includes('"unmounted"')));
  }
});

t.test('SIGTERM: a second signal exits at once with 1', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { daxd } = await setUp(t);
  await beginUpload(`${daxd.url}/v1/partitions/pmem0p1/files/slow`);
  daxd.child.kill('SIGTERM');
  await whenDraining(daxd);
  t.equal(await daxd.stop('SIGTERM'), 1);
});

/** A daemon told to end while the store takes four seconds over a lease; its exit and last words. */
async function endUnkept(t: Test, ...args: string[]) {
  const slowly = `if (changes.some(({ kind }) => kind === 'put'))
    await new Promise((resolve) => setTimeout(resolve, 4_000));
  await written;`;
  const program = mutant(t, PLACES.storeWritten, slowly);
  const { path: image } = kernelImage(t);
  const serve = ['--backing', image, ...args];
  const daxd = await startDaxd(t, serve, undefined, [process.execPath, program]);
  const lease = { partition: 'pmem0p1', path: 'big.txt', offset: 0, length: 8192, client: 'nic0' };
  // Without a key, a lease that nobody hears of any more would be released once it is kept.
  const key = ['-H', 'Idempotency-Key: "8e03978e-40d5-43e8-bc93-6894a57f9325"'];
  const asked = post(`${daxd.url}/v1/leases`, { ...lease, access: 'read', ttl_ms: 60_000 });
  startCurl([...key, ...asked]);
  const [{ id }] = await until(
    async () => (await curl(`${daxd.url}/v1/leases`)).json.leases,
    (leases) => leases.length > 0,
  );
  const exit = await daxd.stop();
  return { id, exit, last: daxd.stdout.slice(1) };
}

t.test('SIGTERM: a lease that is not kept in time is printed, and the exit is 1', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { id, exit, last } = await endUnkept(t, '--drain-timeout', '200ms');
  t.strictSame(last, [`still held: pmem0p1 big.txt, 2 pages, lease ${id}, holder nic0`]);
  t.equal(exit, 1);
});

t.test('SIGTERM: a lease that is kept within the drain timeout is not left out', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { exit, last } = await endUnkept(t, '--drain-timeout', '60s');
  t.strictSame(last, []);
  t.equal(exit, 0);
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
