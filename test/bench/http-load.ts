/**
 * Takes and gives back leases over raw keep-alive connections, in a thread of its own, and
 * posts how many milliseconds all of them took.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';

import { systemClock } from '../../src/lib/clock.js';

/** What one load is made of. */
interface Load {
  readonly port: number;
  readonly connections: number;
  /** Leases taken and given back, over all connections. */
  readonly pairs: number;
  /** JSON of each request for a lease. */
  readonly body: string;
}

const { port, connections, pairs, body }: Load = workerData;
const acquire =
  'POST /v1/leases HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n' +
  `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

/** Runs pairs of calls on one connection, one call at a time. */
async function run(count: number): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.setEncoding('latin1');
  await once(socket, 'connect');
  for (let i = 0; i < count; i++) {
    const granted = await call(socket, acquire, 201);
    const id = /"id":"(\w+)"/.exec(granted)?.[1];
    await call(socket, `DELETE /v1/leases/${id} HTTP/1.1\r\nhost: localhost\r\n\r\n`, 204);
  }
  socket.end();
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
await Promise.all(Array.from({ length: connections }, () => run(pairs / connections)));
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
parentPort?.postMessage(systemClock.nowMs() - startedMs);
