import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout } from 'node:timers/promises';

import t from 'tap';

import { Listener } from '../../../src/http/listeners.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { call, openListener, portOf, sendRaw, setUpListeners } from './set-up.js';

const TCP = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;

t.test('requests: a CONNECT whose client is gone at once does no harm, and ends', async (t) => {
  const { options } = await setUpListeners(t, []);
  const limits = { ...options.limits, connectionsMax: 2 };
  const listener = await openListener(t, TCP, { ...options, limits });
  const port = portOf(listener);
  const head = 'CONNECT x:1 HTTP/1.1\r\nhost: localhost\r\n\r\n';
  for (const _ of [1, 2, 3]) {
    const reset = connect(port, '127.0.0.1', () => {
      reset.write(head);
      reset.resetAndDestroy();
    });
    await once(reset, 'close');
  }
  for (const _ of [1, 2, 3]) t.match(await sendRaw(port, head), /^HTTP\/1\.1 405 /);
  t.equal((await call({ port, path: '/livez' })).status, 200, 'no connection is left over');
});

t.test('requests: a CONNECT behind one that waits is no answer to it', async (t) => {
  const { listeners, control } = await setUpListeners(t, [TCP]);
  control.fs.put('a', 'hello');
  const ended = new Promise<void>((resolve, reject) => {
    control.fs.gate = async (signal) => {
      if (signal === undefined) return reject(new TypeError('a change has a signal'));
      await once(signal, 'abort');
      resolve();
      throw new DaxdError('cancelled', 'the client is gone');
    };
  });
  const body = JSON.stringify({ path: 'a', size: 0 });
  const socket = connect(portOf(listeners[0]), '127.0.0.1');
  socket.write(
    'POST /v1/partitions/pmem0p1/truncate HTTP/1.1\r\nhost: localhost\r\n' +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}` +
      'CONNECT x:1 HTTP/1.1\r\nhost: localhost\r\n\r\n',
  );
  t.equal(await text(socket), '', 'the connection ends');
  await ended;
  t.strictSame(control.fs.calls, [], 'nothing was changed');
});

t.test('requests: a connection with too many under way is cut, and they end', async (t) => {
  const { listeners, control } = await setUpListeners(t, [TCP]);
  control.fs.put('a', 'hello');
  const port = portOf(listeners[0]);
  const waits: AbortSignal[] = [];
  control.fs.gate = async (signal) => {
    if (signal === undefined) throw new TypeError('a change has a signal');
    waits.push(signal);
    await once(signal, 'abort');
    throw new DaxdError('cancelled', 'the client is gone');
  };
  const body = JSON.stringify({ path: 'a', size: 0 });
  const waiting =
    'POST /v1/partitions/pmem0p1/truncate HTTP/1.1\r\nhost: localhost\r\n' +
    `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  const socket = connect(port, '127.0.0.1');
  socket.write(waiting.repeat(8));
  while (waits.length < 8) await call({ port, path: '/livez' });
  t.equal(socket.closed, false);
  socket.write(waiting.repeat(100));
  await once(socket.resume(), 'close');
  while (!waits.every(({ aborted }) => aborted)) await call({ port, path: '/livez' });
  t.equal(waits.length, 8, 'no other was begun');

  const quick = 'GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n';
  t.equal((await sendRaw(port, quick.repeat(8))).match(/ 200 OK/g)?.length, 8);
});

t.test('events: one stream on a connection, behind which nothing is answered', async (t) => {
  const { listeners, latencies } = await setUpListeners(t, [TCP]);
  const port = portOf(listeners[0]);
  const answered = () =>
    [...latencies]
      .filter(({ route, histogram }) => route === '/v1/events' && histogram.count > 0)
      .map(({ code, histogram }) => `${histogram.count} of ${code}`)
      .toSorted();
  const socket = connect(port, '127.0.0.1');
  socket.write('GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n'.repeat(3));
  await once(socket, 'data');
  socket.destroy();
  while (answered().length < 2) await call({ port, path: '/livez' });
  t.strictSame(answered(), ['1 of 499', '2 of 409']);
});

t.test('bodies: one that does not end ends its connection, where it is no file', async (t) => {
  const { listeners, control } = await setUpListeners(t, [TCP]);
  const port = portOf(listeners[0]);
  const head = 'HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n';
  const upload = connect(port, '127.0.0.1');
  upload.write(`PUT /v1/partitions/pmem0p1/files/a ${head}\r\n12345`);
  for (const line of ['POST /v1/leases', 'DELETE /v1/leases/none']) {
    const socket = connect(port, '127.0.0.1');
    socket.write(`${line} ${head}content-type: application/json\r\n\r\n{`);
    await setTimeout(300);
    socket.write(' ');
    await once(socket.resume(), 'close');
  }
  upload.write('67890');
  const [answer] = await once(upload, 'data');
  t.match(String(answer), /^HTTP\/1\.1 201 /);
  t.equal(control.fs.bytes('a'), '1234567890');
  upload.destroy();
});

t.test('bodies: one that belongs to no route is not waited for', async (t) => {
  const { listeners } = await setUpListeners(t, [TCP]);
  const socket = connect(portOf(listeners[0]), '127.0.0.1');
  socket.write('POST /v1/nope HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n');
  socket.write('content-length: 10\r\n\r\n{');
  const [answer] = await once(socket, 'data');
  t.match(String(answer), /^HTTP\/1\.1 404 [^]*there is no POST \/v1\/nope/);
  socket.destroy();
});

t.test('requests: who is told why its connection ends, and stays, is cut', async (t) => {
  const { options } = await setUpListeners(t, []);
  const listener = await Listener.open(TCP, options);
  for (const line of ['noise', 'CONNECT localhost:80 HTTP/1.1']) {
    const socket = connect({ port: portOf(listener), host: '127.0.0.1', allowHalfOpen: true });
    t.teardown(() => socket.destroy());
    socket.write(`${line}\r\n\r\n`);
    await once(socket.resume(), 'end');
  }
  const closed = listener.close().then(() => 'closed');
  t.equal(await Promise.race([closed, setTimeout(10_000, 'open')]), 'closed');
  listener.cut();
});
