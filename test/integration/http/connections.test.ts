import { once } from 'node:events';
import { connect } from 'node:net';

import t from 'tap';

import { Listener } from '../../../src/http/listeners.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { call, portOf, sendRaw, setUpListeners } from './set-up.js';

const TCP = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;

t.test('requests: a CONNECT whose client is gone at once does no harm, and ends', async (t) => {
  const { options } = await setUpListeners(t, []);
  const limits = { ...options.limits, connectionsMax: 2 };
  const listener = await Listener.open(TCP, { ...options, limits });
  t.teardown(async () => {
    const closed = listener.close();
    listener.cut();
    await closed;
  });
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
