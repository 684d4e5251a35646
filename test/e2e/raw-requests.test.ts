import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';

import t from 'tap';

import { scratchDirectory } from '../support/scratch-directory.js';
import { curl, metric, post, startDaxd, until } from './daxd.js';
import type { Daxd } from './daxd.js';

const FILES = '/v1/partitions/pmem0p1/files';
const TRUNCATE = '/v1/partitions/pmem0p1/truncate';

async function open({ url }: Daxd): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  return socket;
}

function request(line: string, body?: object): string {
  const text = body === undefined ? '' : JSON.stringify(body);
  const type = body === undefined ? '' : 'content-type: application/json\r\n';
  const length = `content-length: ${Buffer.byteLength(text)}`;
  return `${line} HTTP/1.1\r\nhost: localhost\r\n${type}${length}\r\n\r\n${text}`;
}

/** The status line of what is answered to one request. */
async function statusOf(daxd: Daxd, line: string, body = ''): Promise<string> {
  const socket = await open(daxd);
  const head = `${line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n`;
  socket.end(`${head}content-length: ${body.length}\r\n\r\n${body}`);
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text.split('\r\n')[0] ?? '';
}

t.test('a connection that ends takes what was pipelined on it along', async (t) => {
  const daxd = await startDaxd(t, [], scratchDirectory(t));
  const { url } = daxd;
  const content = 'x'.repeat(8192);
  await curl('-X', 'PUT', '-d', content, `${url}${FILES}/a`);
  const range = { partition: 'pmem0p1', path: 'a', offset: 0, length: 8192, access: 'read' };
  const lease = post(`${url}/v1/leases`, { ...range, ttl_ms: 60_000 });
  const held = await curl(...lease);

  const socket = await open(daxd);
  const waiting = { ...range, ttl_ms: 60_000, wait_ms: 60_000 };
  socket.write(
    request(`POST ${TRUNCATE}`, { path: 'a', size: 0 }) +
      request(`POST ${TRUNCATE}`, { path: 'a', size: 100 }) +
      request('POST /v1/leases', waiting) +
      request('GET /v1/events'),
  );
  const operations = async () => (await curl(`${url}/v1/operations`)).json.operations;
  const watchers = async () => metric(url, 'daxd_sse_clients');
  t.equal((await until(operations, ({ length }) => length === 2)).length, 2);
  t.equal(await until(watchers, (count) => count === 1), 1, 'the last of them is under way');
  socket.destroy();
  t.strictSame(await until(operations, ({ length }) => length === 0), []);
  t.equal(await until(watchers, (count) => count === 0), 0);

  await curl('-X', 'DELETE', `${url}/v1/leases/${held.json.id}`);
  // Behind whatever else is under way on the file.
  t.equal((await curl(...post(`${url}${TRUNCATE}`, { path: 'a', size: 8192 }))).status, 200);
  const { json: after } = await curl(...lease);
  const { leases } = (await curl(`${url}/v1/leases`)).json;
  t.match(leases, { length: 1, 0: { id: after.id } }, 'nobody would hold another');
  t.equal((await curl(`${url}${FILES}/a`)).body, content, 'what nobody waits for is not done');
});

t.test('targets in absolute form name what those in origin form do', async (t) => {
  const daxd = await startDaxd(t, [], scratchDirectory(t));
  const { url } = daxd;
  for (const path of ['pmem0p1', 'pmem0p1/files']) {
    await curl(...post(`${url}/v1/partitions/pmem0p1/mkdir`, { path }));
  }
  t.match(await statusOf(daxd, `PUT ${url}${FILES}/a`, 'one'), '201');
  t.equal((await curl(`${url}${FILES}/a`)).body, 'one');
  t.match(await statusOf(daxd, `GET HTTP://localhost${FILES}/a`), '200');
  t.match(await statusOf(daxd, 'GET http://localhost?x'), '404');
  t.match(await statusOf(daxd, `PUT ${FILES}/a#offset=1`, 'two'), '400');
  t.match(await statusOf(daxd, `DELETE ${url}${FILES}/a`), '204');
  t.equal((await curl(`${url}${FILES}/a`)).status, 404);
  t.equal((await curl(`${url}${FILES}/pmem0p1/files/a`)).status, 404);
});

t.test('a body of very many levels is refused as any other', async (t) => {
  const daxd = await startDaxd(t, [], scratchDirectory(t));
  const { url } = daxd;
  const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
  const json = ['-X', 'POST', '-H', 'content-type: application/json'];
  const detail = 'body.path must be string, not an array';
  const sent = await curl(...json, '-d', `{"size":0,"path":${deep}}`, `${url}${TRUNCATE}`);
  t.match(sent, { status: 400, json: { detail } });
  t.equal((await curl(...json, '-d', deep, `${url}${TRUNCATE}`)).status, 400);
  t.equal((await curl(`${url}/livez`)).status, 200);
});

t.test('a download whose file becomes shorter is cut off', async (t) => {
  const daxd = await startDaxd(t, [], scratchDirectory(t));
  const { url } = daxd;
  await curl('-X', 'PUT', '-d', '', `${url}${FILES}/a`);
  await curl(...post(`${url}${TRUNCATE}`, { path: 'a', size: 64 * 1024 * 1024 }));
  const socket = await open(daxd);
  socket.write(request(`GET ${FILES}/a`) + request('GET /livez'));
  await once(socket, 'readable');
  await curl(...post(`${url}${TRUNCATE}`, { path: 'a', size: 8192 }));
  let [bytes, tail] = [0, ''];
  for await (const chunk of socket) {
    bytes += (chunk as Buffer).length;
    tail = (tail + String(chunk)).slice(-4096);
  }
  t.ok(bytes < 64 * 1024 * 1024, `${bytes} bytes`);
  t.notMatch(tail, 'alive', 'no other answer among its bytes');
});

t.test('what is refused before its route is measured, too', async (t) => {
  const { url } = await startDaxd(t, [], scratchDirectory(t));
  t.equal((await curl('-H', 'host: evil.example', `${url}/v1/device`)).status, 403);
  t.match(
    (await curl(`${url}/metrics`)).body,
    /^daxd_http_request_duration_seconds_count\{.*route="\/v1\/device".*code="403".*\} 1$/m,
  );
});
