import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';

import t from 'tap';
import type { Test } from 'tap';

import { Client, RefusedError } from '../../../src/cli/client.js';
import { listenOnLoopback } from '../../support/serve-http.js';

/** A client of a server that does `serve` with the head of each request. */
async function setUp(t: Test, serve: (socket: Socket, head: string) => void): Promise<Client> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (head: Buffer) => {
      serve(socket, head.toString('latin1'));
    });
  });
  const port = await listenOnLoopback(t, server);
  return new Client(`http://127.0.0.1:${port}`, { token: undefined, tls: undefined });
}

function answer(status: string, body: string, length = body.length): string {
  return `HTTP/1.1 ${status}\r\nContent-Length: ${length}\r\n\r\n${body}`;
}

t.test('call: what is refused while it uploads says why, and ends the upload', async (t) => {
  const client = await setUp(t, (socket, head) => {
    socket.write(answer('404 Not Found', '{"code":"ENOENT","detail":"no partition p"}'));
    // As the kernel does for a server that closes with bytes unread.
    if (/^connection: close/im.test(head)) socket.resetAndDestroy();
    else socket.resume();
  });
  const stream = new Readable({
    read() {
      setImmediate(() => this.push(Buffer.alloc(1_000)));
    },
  });
  const refused = client.call({ method: 'PUT', path: '/', stream });
  await t.rejects(refused, new RefusedError({ code: 'ENOENT', detail: 'no partition p' }));
  if (!stream.closed) await new Promise((resolve) => stream.once('close', resolve));
});
