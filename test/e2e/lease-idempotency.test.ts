/** The answer to a grant is lost, with its connection or with the daemon: sent again, it is one lease. */
import { once } from 'node:events';
import { connect } from 'node:net';

import t from 'tap';

import { requires } from '../support/requires.js';
import { curl, post, startDaxd, until } from './daxd.js';
import type { Daxd } from './daxd.js';
import { kernelImages } from './images.js';

const kernelImage = await kernelImages(t);

const LEASE = {
  partition: 'pmem0p1',
  path: 'big.txt',
  offset: 0,
  length: 8192,
  access: 'read',
  ttl_ms: 60_000,
};
const KEY = 'Idempotency-Key: "8e03978e-40d5-43e8-bc93-6894a57f9324"';

/** Sends a request for a lease, and hangs up without an answer. */
async function askAndHangUp(url: string): Promise<void> {
  const { hostname, port } = new URL(url);
  const body = JSON.stringify(LEASE);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  socket.end(
    [
      'POST /v1/leases HTTP/1.1',
      `Host: ${hostname}:${port}`,
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
      KEY,
      '',
      body,
    ].join('\r\n'),
  );
  await once(socket, 'finish');
  socket.destroy();
}

async function pinned({ url }: Daxd): Promise<number> {
  return (await curl(`${url}/v1/device`)).json.pagemap.pinned_pages;
}

t.test('a lost answer, and a killed daemon: the key gives the same lease', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image]);
  t.equal(await pinned(daxd), 0);
  await askAndHangUp(daxd.url);
  const [lease] = await until(
    async () => (await curl(`${daxd.url}/v1/leases`)).json.leases,
    (leases) => leases.length > 0,
  );
  const again = await curl('-H', KEY, ...post(`${daxd.url}/v1/leases`, LEASE));
  t.equal(again.status, 201);
  t.equal(again.json.id, lease.id);
  await daxd.stop('SIGKILL');

  const next = await startDaxd(t, ['--backing', image]);
  const url = `${next.url}/v1/leases`;
  const third = await curl('-H', KEY, ...post(url, LEASE));
  t.equal(third.status, 201);
  t.match(third.json, { id: lease.id, state: 'reclaimable', secret: again.json.secret });
  t.equal((await curl('-H', KEY, ...post(url, { ...LEASE, length: 1 }))).status, 422);
  t.equal((await curl(url)).json.leases.length, 1);
  t.equal(await pinned(next), 2, 'pinned once');
  t.equal((await curl('-X', 'DELETE', `${url}/${lease.id}`)).status, 204);
  t.equal(await pinned(next), 0);
  t.equal((await curl('-H', KEY, ...post(url, LEASE))).status, 410);
  t.equal(await next.stop(), 0);
});
