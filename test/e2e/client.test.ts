import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { Daxd } from '../../src/client/daxd.js';
import type { Lease } from '../../src/client/daxd.js';
import { systemClock } from '../../src/lib/clock.js';
import { bytesAt } from '../support/bytes-at.js';
import { requires } from '../support/requires.js';
import { temporaryDirectory } from '../support/scratch-directory.js';
import { curl, post, startCurl, startDaxd } from './daxd.js';

const SIZE = 12_288;

async function setUp(t: Test) {
  const directory = temporaryDirectory(t);
  const backing = join(directory, 'pmem0.img');
  const socket = `unix:${join(directory, 'daxd.sock')}`;
  const args = ['--backing', backing, '--size', '64M', '--init', '--listen', socket];
  const daxd = await startDaxd(t, args);
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
  await curl('-X', 'PUT', '--data-binary', 'x'.repeat(SIZE), `${p1}/files/a`);
  const client = new Daxd({ url: socket });
  const ask = async (access: 'read' | 'write', ttlMs?: number) =>
    client.lease({ partition: 'pmem0p1', path: 'a', offset: 0, length: SIZE, access, ttlMs });
  return { directory, backing, socket, daxd, p1, client, ask };
}

/** How many mappings of the backing this process has: the kernel is asked. */
function mappings(backing: string): number {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes(backing)).length;
}

t.test(
  'buffers: the pages themselves while the lease lasts, and nothing of them later',
  async (t) => {
    if (!requires(t, { commands: ['curl'] })) return;
    const { backing, p1, ask } = await setUp(t);
    const lease = await ask('write');
    const [whole, ...others] = await lease.buffers();
    t.strictSame(others, [], 'one extent');
    t.equal(whole?.fileOffset, 0);
    const bytes = whole?.bytes ?? Buffer.alloc(0);
    t.equal(bytes.toString('latin1'), 'x'.repeat(SIZE));
    bytes.write('hello', 4096);
    t.equal((await curl(`${p1}/files/a`)).body, 'x'.repeat(4096) + 'hello'.padEnd(8192, 'x'));
    t.equal((await lease.buffers())[0]?.bytes.buffer, bytes.buffer, 'mapped once');
    t.equal(mappings(backing), 1);

    const truncate = startCurl(post(`${p1}/truncate`, { path: 'a', size: 4096 }));
    const [recall] = await once(lease, 'recall');
    t.match(recall, { op: 'truncate', ranges: [{ offset: 4096, length: 8192 }] });
    const place = lease.extents[0]?.device_offset ?? 0;
    await lease.release();
    t.equal(mappings(backing), 0, 'cut off');
    t.equal((await truncate.answer).status, 200);
    bytes.fill('!');
    t.equal(bytes.toString('latin1', 0, 5), '!!!!!', 'a view that is kept is memory of its own');
    t.notMatch(bytesAt(backing, place, SIZE).toString('latin1'), '!');
    await t.rejects(lease.buffers(), { code: 'ESHUTDOWN' });
  },
);

t.test('release: of what a truncate waits for; the rest of the lease goes on', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { backing, daxd, p1, ask } = await setUp(t);
  const lease = await ask('write');
  const [whole] = await lease.buffers();
  const bytes = whole?.bytes ?? Buffer.alloc(0);
  const place = lease.extents[0]?.device_offset ?? 0;
  const truncate = startCurl(post(`${p1}/truncate`, { path: 'a', size: 4096 }));
  const [recall] = await once(lease, 'recall');
  await lease.release(recall.ranges);
  t.equal((await truncate.answer).status, 200, 'that was enough');
  t.equal(lease.state, 'active');
  t.strictSame(lease.extents, [{ file_offset: 0, device_offset: place, length: 4096 }]);
  t.match((await curl(`${daxd.url}/v1/leases/${lease.id}`)).json, {
    state: 'active',
    pages: 1,
    extents: lease.extents,
  });

  bytes.fill('!');
  t.equal((await curl(`${p1}/files/a`)).body, '!'.repeat(4096), 'what is lent still');
  t.notMatch(bytesAt(backing, place + 4096, SIZE - 4096).toString('latin1'), '!');
  const [rest, ...others] = await lease.buffers();
  t.strictSame([others.length, rest?.fileOffset, rest?.bytes.length], [0, 0, 4096]);
  t.equal(mappings(backing), 1);
  await lease.release();
  t.equal(mappings(backing), 0);
  t.equal((await curl(`${daxd.url}/v1/leases/${lease.id}`)).json.state, 'released');
});

t.test('acknowledge: a change that would take the lease waits for its holder', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { daxd, p1, ask } = await setUp(t);
  // It renews each second: from then on it has seen the recall, and its time runs.
  const lease = await ask('write', 3_000);
  await t.rejects(lease.acknowledge(1_000), { code: 'ENOENT' }, 'nothing asks for it');
  const body = { path: 'a', size: 4096, on_conflict: 'revoke', deadline_ms: 1_000 };
  const truncate = startCurl(post(`${p1}/truncate`, body));
  await once(lease, 'recall');
  await t.rejects(lease.acknowledge(-1), { code: 'EINVAL' });
  await lease.acknowledge(60_000);
  const { operations } = (await curl(`${daxd.url}/v1/operations`)).json;
  t.match(operations, [{ acknowledged: [{ lease: lease.id }] }]);
  await setTimeout(3_500);
  t.equal(lease.state, 'active', 'past the deadline');
  await lease.release();
  t.equal((await truncate.answer).status, 200);
  await t.rejects(lease.acknowledge(1_000), { code: 'ESHUTDOWN' });
});

t.test('shrunk: what somebody else released is cut off, and the rest goes on', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { backing, daxd, ask } = await setUp(t);
  const lease = await ask('write');
  const [whole] = await lease.buffers();
  const place = lease.extents[0]?.device_offset ?? 0;
  const told = once(lease, 'shrunk');
  const ranges = [{ offset: 4096, length: 8192 }];
  await curl(...post(`${daxd.url}/v1/leases/${lease.id}/release`, { ranges }));
  await told;
  t.strictSame(lease.extents, [{ file_offset: 0, device_offset: place, length: 4096 }]);
  whole?.bytes.fill('!');
  t.equal(bytesAt(backing, place, 4096).toString('latin1'), '!'.repeat(4096));
  t.notMatch(bytesAt(backing, place + 4096, 8192).toString('latin1'), '!');
  t.equal(lease.state, 'active');
  await lease.release();
});

t.test('buffers: those of a read lease are write-protected, before and after', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { p1, socket } = await setUp(t);
  t.equal(run(t, socket, '', resolve('.')).status, 0, 'reading is fine');
  t.equal(run(t, socket, 'bytes.fill(1);', resolve('.')).signal, 'SIGSEGV');
  t.equal(run(t, socket, 'await lease.release(); bytes.fill(1);', resolve('.')).signal, 'SIGSEGV');
  t.equal((await curl(`${p1}/files/a`)).body, 'x'.repeat(SIZE), 'nothing was stored');
});

t.test('buffers: EOPNOTSUPP where koffi is not there; the rest needs Node alone', async (t) => {
  const { directory, socket } = await setUp(t);
  const alone = join(directory, 'alone');
  for (const layer of ['client', 'lib', 'media']) {
    cpSync(join('dist', layer), join(alone, 'dist', layer), { recursive: true });
  }
  cpSync('package.json', join(alone, 'package.json'));
  const { status, stdout, stderr } = run(t, socket, '', alone);
  t.equal(status, 3, stderr);
  t.match(stdout, 'EOPNOTSUPP');
});

/** Runs a program that leases, maps and does as told, from a copy of the package. */
function run(t: Test, socket: string, then: string, packageRoot: string) {
  const program = join(temporaryDirectory(t), 'program.mjs');
  writeFileSync(
    program,
    `import { Daxd } from ${JSON.stringify(join(packageRoot, 'dist/client/daxd.js'))};
const daxd = new Daxd({ url: ${JSON.stringify(socket)} });
const lease = await daxd.lease({
  partition: 'pmem0p1', path: 'a', offset: 0, length: ${SIZE}, access: 'read', ttlMs: 1000,
});
try {
  const [{ bytes }] = await lease.buffers();
  if (bytes.toString('latin1') !== 'x'.repeat(${SIZE})) process.exitCode = 1;
  ${then}
} catch (error) {
  console.log(error.code);
  process.exitCode = 3;
}
await lease.release();
`,
  );
  return spawnSync(process.execPath, [program], { encoding: 'utf8', timeout: 20_000 });
}

/** A way to a daemon on which the answer to the first request for a lease is lost. */
async function lossyWay(t: Test, daxdUrl: string): Promise<{ url: string; lost: string[] }> {
  const { hostname, port } = new URL(daxdUrl);
  const lost: string[] = [];
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    near.pipe(far);
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
    near.once('data', (head: Buffer) => {
      if (lost.length > 0 || !head.toString().startsWith('POST /v1/leases ')) far.pipe(near);
      else {
        far.once('data', (answer: Buffer) => {
          lost.push(answer.toString());
          near.destroy();
          far.destroy();
        });
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port: nearPort } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${nearPort}`, lost };
}

t.test('lease: one alone, where the answer to the request was lost', async (t) => {
  const { daxd } = await setUp(t);
  const { url, lost } = await lossyWay(t, daxd.url);
  const lease = await new Daxd({ url }).lease({
    partition: 'pmem0p1',
    path: 'a',
    offset: 0,
    length: SIZE,
    access: 'write',
  });
  t.match(lost, [/^HTTP\/1\.1 201 /], 'it was granted');
  const { leases } = (await curl(`${daxd.url}/v1/leases`)).json;
  t.match(leases, [{ id: lease.id, pages: 3 }]);
  t.equal(leases.length, 1);
  t.match(lost[0], lease.id, 'the one that was granted first');
  await lease.release();
  t.strictSame((await curl(`${daxd.url}/v1/leases`)).json.leases, []);
});

t.test('restart: suspect while nobody answers, then active again', async (t) => {
  const { backing, socket, daxd, ask } = await setUp(t);
  const lease = await ask('read', 3_000);
  const [view] = await lease.buffers();
  const suspect = once(lease, 'suspect');
  await daxd.stop('SIGKILL');
  await suspect;
  t.equal(mappings(backing), 1, 'its pages are pinned still, for all that is known');
  const active = once(lease, 'active');
  await startDaxd(t, ['--backing', backing, '--listen', socket]);
  await active;
  t.equal(lease.state, 'active', 'the daemon kept the lease');
  t.equal(mappings(backing), 1);
  t.equal(view?.bytes.length, SIZE, 'a view is there still');
  await lease.release();
});

t.test('renewal: a lease of six seconds lasts for nine, until it is taken away', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { backing, daxd, ask } = await setUp(t);
  const lease = await ask('read', 6_000);
  await lease.buffers();
  const state = async ({ id }: Lease) => (await curl(`${daxd.url}/v1/leases/${id}`)).json.state;
  const untilMs = systemClock.nowMs() + 9_000;
  while (systemClock.nowMs() < untilMs) {
    t.equal(await state(lease), 'active');
    await setTimeout(100);
  }
  const lost = once(lease, 'lost');
  await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${lease.id}`);
  const [reason] = await lost;
  t.match(reason.message, 'asked for');
  t.equal(mappings(backing), 0);
});
