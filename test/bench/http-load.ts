/**
 * Takes and gives back leases over raw keep-alive connections, in a thread of its own, and
 * posts how many milliseconds all of them took. Of etcd a lease is a grant with a key put under
 * it, through its JSON gateway.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';

import { systemClock } from '../../src/lib/clock.js';

/** What one load is made of. */
interface Load {
  readonly of: 'daxd' | 'etcd';
  readonly port: number;
  readonly connections: number;
  /** Leases taken and given back, over all connections. */
  readonly pairs: number;
  /** JSON of each request for a lease of daxd. */
  readonly body: string;
}

const { of, port, connections, pairs, body }: Load = workerData;

/** Runs pairs of calls on one connection, one call at a time. */
async function run(connection: number): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.setEncoding('latin1');
  await once(socket, 'connect');
  const pair = of === 'daxd' ? daxdPair : etcdPair;
  for (let i = 0; i < pairs / connections; i++) await pair(socket, `${connection}/${i}`);
  socket.end();
}

const acquire = post('/v1/leases', body);

async function daxdPair(socket: Socket): Promise<void> {
  const granted = await call(socket, acquire, 201);
  const id = /"id":"(\w+)"/.exec(granted)?.[1];
  await call(socket, `DELETE /v1/leases/${id} HTTP/1.1\r\nhost: localhost\r\n\r\n`, 204);
}

async function etcdPair(socket: Socket, name: string): Promise<void> {
  const granted = await call(socket, post('/v3/lease/grant', '{"TTL":60}'), 200);
  const lease = /"ID":"(\d+)"/.exec(granted)?.[1];
  const key = Buffer.from(name).toString('base64');
  const put = JSON.stringify({ key, value: key, lease });
  await call(socket, post('/v3/kv/put', put), 200);
  await call(socket, post('/v3/lease/revoke', JSON.stringify({ ID: lease })), 200);
}

function post(path: string, json: string): string {
  const head = `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n`;
  return `${head}content-length: ${Buffer.byteLength(json)}\r\n\r\n${json}`;
}

/** One call, and all of its answer: it comes whole, with its length in the head. */
async function call(socket: Socket, request: string, status: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const take = (chunk: string): void => {
      text += chunk;
      const head = text.indexOf('\r\n\r\n');
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      if (head < 0 || text.length < head + 4 + length) return;
      socket.off('data', take);
      if (text.startsWith(`HTTP/1.1 ${status} `)) resolve(text);
      else reject(new Error(text));
    };
    socket.on('data', take);
    socket.write(request);
  });
}

const startedMs = systemClock.nowMs();
await Promise.all(Array.from({ length: connections }, (_, connection) => run(connection)));
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
parentPort?.postMessage(systemClock.nowMs() - startedMs);
