/** Leases that end when the connection of their holder does: the kernel closes that of a dead one. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { requires } from '../support/requires.js';
import { temporaryDirectory } from '../support/scratch-directory.js';
import { curl, post, startDaxd, startCurl, until, whenDraining } from './daxd.js';
import type { Daxd } from './daxd.js';

const ASKED = { partition: 'pmem0p1', path: 'a', offset: 0, length: 4096, access: 'read' };
const BODY = { ...ASKED, ttl_ms: 600_000, connection: true };

/** Takes a lease and stays connected until it is killed; prints the id. */
const HOLDER = `
const { Agent, request } = require('node:http');
const [options, body] = process.argv.slice(1).map((text) => JSON.parse(text));
const agent = new Agent({ keepAlive: true });
const headers = { 'content-type': 'application/json' };
const asked = request({ ...options, agent, path: '/v1/leases', method: 'POST', headers }, (answer) => {
  answer.on('data', (chunk) => process.stdout.write(chunk));
});
asked.end(JSON.stringify(body));
setInterval(() => {}, 1000);
`;

/** A daemon with one file, on TCP and on a Unix socket. */
async function setUp(t: Test) {
  const directory = temporaryDirectory(t);
  const image = join(directory, 'pmem0.img');
  const socket = join(directory, 'http.sock');
  const args = ['--backing', image, '--listen', `unix:${socket}`];
  const daxd = await startDaxd(t, [...args, '--size', '32M', '--init']);
  const file = `${daxd.url}/v1/partitions/pmem0p1/files/a`;
  await curl('-X', 'PUT', '-d', 'x'.repeat(4096), file);
  return { args, daxd, socket };
}

/** Another process that takes a lease and keeps its connection. */
async function startHolder(t: Test, options: object) {
  const child = spawn(process.execPath, [
    '-e',
    HOLDER,
    JSON.stringify(options),
    JSON.stringify(BODY),
  ]);
  t.teardown(() => child.kill('SIGKILL'));
  const [answer] = await once(child.stdout, 'data');
  return { child, lease: JSON.parse(String(answer)) };
}

async function leaseOf({ url }: Daxd, id: string) {
  return (await curl(`${url}/v1/leases/${id}`)).json;
}

/** One call over a connection that stays. */
async function call(agent: Agent, url: string, body: object, extra = {}) {
  const headers = { 'content-type': 'application/json', ...extra };
  const asked = request(url, { agent, method: 'POST', headers });
  asked.end(JSON.stringify(body));
  const [answer] = await once(asked, 'response');
  let text = '';
  for await (const chunk of answer) text += String(chunk);
  return { status: answer.statusCode, json: JSON.parse(text) };
}

/** Ends a connection; settles when daxd has seen that, as another lease bound to it shows. */
async function endSeen(daxd: Daxd, agent: Agent): Promise<void> {
  const { json: witness } = await call(agent, `${daxd.url}/v1/leases`, BODY);
  agent.destroy();
  await until(
    () => leaseOf(daxd, witness.id),
    ({ state }) => state === 'released',
  );
}

function keptAgent(t: Test): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => {
    agent.destroy();
  });
  return agent;
}

t.test('connection: a truncate goes on when the holder is killed', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { daxd, socket } = await setUp(t);
  const { hostname, port } = new URL(daxd.url);
  for (const options of [
    { hostname, port },
    { socketPath: socket, hostname: 'localhost' },
  ]) {
    const { child, lease } = await startHolder(t, options);
    t.match(await leaseOf(daxd, lease.id), { state: 'active', pages: 1 });
    const truncate = startCurl(
      post(`${daxd.url}/v1/partitions/pmem0p1/truncate`, { path: 'a', size: 4000 }),
    );
    await until(
      async () => (await curl(`${daxd.url}/v1/operations`)).json.operations,
      (waiting) => waiting.length > 0,
    );
    child.kill('SIGKILL');
    t.match(await truncate.answer, { status: 200 });
    t.match(await leaseOf(daxd, lease.id), { state: 'released', ended: 'connection closed' });
  }
});

t.test('connection: what daxd closes proves nothing, and a lease is bound anew', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { args, daxd } = await setUp(t);
  const granted = await call(keptAgent(t), `${daxd.url}/v1/leases`, BODY);
  t.equal(granted.status, 201);
  const { id } = granted.json;
  const drained = whenDraining(daxd);
  const stopped = daxd.stop();
  await drained;
  t.equal(await stopped, 0);

  const next = await startDaxd(t, args);
  t.match(await leaseOf(next, id), { state: 'reclaimable', pages: 1 });
  const agent = keptAgent(t);
  t.equal((await call(agent, `${next.url}/v1/leases/${id}/renew`, {})).status, 200);
  t.equal((await call(agent, `${next.url}/v1/leases/${id}/bind`, {})).status, 200);
  const renewed = await call(agent, `${next.url}/v1/leases/${id}/renew`, {});
  t.match(renewed, { status: 200, json: { state: 'active' } });
  agent.destroy();
  await until(
    () => leaseOf(next, id),
    ({ state }) => state === 'released',
  );
});

t.test('connection: a request that is sent again over another one ends with that', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { daxd } = await setUp(t);
  const [first, second, third] = [keptAgent(t), keptAgent(t), keptAgent(t)];
  const key = { 'idempotency-key': 'again' };
  const { json: lease } = await call(first, `${daxd.url}/v1/leases`, BODY, key);
  const again = await call(second, `${daxd.url}/v1/leases`, BODY, key);
  t.match(again, { status: 201, json: { id: lease.id } });
  await endSeen(daxd, first);
  t.match(await leaseOf(daxd, lease.id), { state: 'active', pages: 1 });
  t.equal((await call(third, `${daxd.url}/v1/leases/${lease.id}/bind`, {})).status, 200);
  await endSeen(daxd, second);
  t.match(await leaseOf(daxd, lease.id), { state: 'active', pages: 1 });
  third.destroy();
  await until(
    () => leaseOf(daxd, lease.id),
    ({ state }) => state === 'released',
  );
});

t.test('connection: one that ends with its answer is refused', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { daxd } = await setUp(t);
  const url = `${daxd.url}/v1/leases`;
  const refused = await curl('-H', 'Connection: close', ...post(url, BODY));
  t.match(refused, { status: 400, json: { code: 'EINVAL', detail: /keep the connection open/ } });
  t.match(await curl('-0', ...post(url, BODY)), { status: 400, json: { code: 'EINVAL' } });
  t.strictSame((await curl(url)).json.leases, [], 'and nothing is pinned');
});
