import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { Server, connect } from 'node:net';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';

import t from 'tap';

import { Listener } from '../../../src/http/listeners.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';
import { call, openListener, portOf, sendRaw, setUpListeners, timerOf } from './set-up.js';

const TCP = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;

t.test('listeners: one set of routes behind TCP and a Unix socket', async (t) => {
  const path = join(temporaryDirectory(t), 'daxd.sock');
  const { listeners } = await setUpListeners(t, [TCP, { kind: 'unix', path }]);
  t.match(listeners[0]?.url, /^http:\/\/127\.0\.0\.1:\d+$/);
  t.equal(listeners[1]?.url, `unix:${path}`);
  t.equal(statSync(path).mode & 0o777, 0o660);
  t.equal((await call({ port: portOf(listeners[0]), path: '/livez' })).status, 200);
  t.equal((await call({ socketPath: path, path: '/livez' })).status, 200);
});

t.test('listeners: Host is looked at on TCP, not on a Unix socket', async (t) => {
  const path = join(temporaryDirectory(t), 'daxd.sock');
  const { listeners } = await setUpListeners(t, [TCP, { kind: 'unix', path }]);
  const headers = { host: 'evil.example' };
  const refused = await call({ port: portOf(listeners[0]), path: '/livez', headers });
  t.equal(refused.status, 403);
  t.equal((await call({ socketPath: path, path: '/livez', headers })).status, 200);
  const origin = { host: 'x', origin: 'http://evil.example' };
  t.equal((await call({ socketPath: path, path: '/livez', headers: origin })).status, 403);
});

t.test(
  'listeners: a dead socket file is replaced, a live one and a plain file are not',
  async (t) => {
    const dir = temporaryDirectory(t);
    const dead = join(dir, 'dead.sock');
    spawnSync(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    t.equal(existsSync(dead), true, 'the killed process left its socket');
    const live = join(dir, 'live.sock');
    const { options } = await setUpListeners(t, [
      { kind: 'unix', path: dead },
      { kind: 'unix', path: live },
    ]);
    t.equal((await call({ socketPath: dead, path: '/livez' })).status, 200);

    await t.rejects(Listener.open({ kind: 'unix', path: live }, options), { code: 'EBUSY' });
    t.equal((await call({ socketPath: live, path: '/livez' })).status, 200, 'it goes on');

    const file = join(dir, 'file');
    writeFileSync(file, 'precious');
    await t.rejects(Listener.open({ kind: 'unix', path: file }, options), { code: 'EEXIST' });
    t.equal(existsSync(file), true);
  },
);

t.test('listeners: a port in use is EBUSY', async (t) => {
  const other = new Server().listen(0, '127.0.0.1');
  await once(other, 'listening');
  t.teardown(() => other.close());
  const { options } = await setUpListeners(t, []);
  const address = other.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await t.rejects(Listener.open({ kind: 'tcp', host: '127.0.0.1', port }, options), {
    code: 'EBUSY',
    message: new RegExp(`127.0.0.1:${port}`),
  });
});

t.test('paths: dots reach the daemon and are refused there', async (t) => {
  const { listeners, control } = await setUpListeners(t, [TCP]);
  control.fs.put('a', 'x');
  const port = portOf(listeners[0]);
  const files = '/v1/partitions/pmem0p1/files';
  t.equal((await call({ port, path: `${files}/a` })).body, 'x');
  for (const path of ['.', '..', '%2e%2e', '../a', 'b/../a', '..%2fa']) {
    const refused = await call({ port, path: `${files}/${path}` });
    t.equal(refused.status, 400, path);
    t.equal(JSON.parse(refused.body).code, 'EINVAL');
  }
});

t.test('bodies: 10 MB of JSON are refused with EFBIG, and the daemon goes on', async (t) => {
  const { listeners } = await setUpListeners(t, [TCP]);
  const port = portOf(listeners[0]);
  const json = JSON.stringify({ path: 'a'.repeat(10_000_000), size: 0 });
  const target = { port, method: 'POST', path: '/v1/partitions/pmem0p1/truncate' };
  const headers = { 'content-type': 'application/json' };
  const whole = await call(
    { ...target, headers: { ...headers, 'content-length': json.length } },
    json,
  );
  t.equal(whole.status, 413);
  t.equal(JSON.parse(whole.body).code, 'EFBIG');
  const chunked = { ...headers, 'transfer-encoding': 'chunked' };
  const unannounced = await call({ ...target, headers: chunked }, json.slice(0, 100_000));
  t.equal(unannounced.status, 413);
  t.equal((await call({ port, path: '/livez' })).status, 200);
});

t.test('requests: what is not HTTP gets a problem', async (t) => {
  const { listeners } = await setUpListeners(t, [TCP]);
  const port = portOf(listeners[0]);
  const noise = await sendRaw(port, 'this is not HTTP\r\n\r\n');
  t.match(noise, /^HTTP\/1\.1 400 /);
  t.match(noise, /application\/problem\+json/);
  const long = await sendRaw(
    port,
    `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nhost: localhost\r\n\r\n`,
  );
  t.match(long, /^HTTP\/1\.1 431 /);
  t.match(await sendRaw(port, 'GET /livez HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 403 /, 'no Host at all');
  for (const [head, status] of [
    ['GET /livez HTTP/1.1', 400],
    ['PUT /a HTTP/1.1\r\nhost: localhost\r\nexpect: foo', 417],
    ['CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80', 405],
  ] as const) {
    const answer = await sendRaw(port, `${head}\r\n\r\n`);
    t.ok(answer.startsWith(`HTTP/1.1 ${status} `), answer);
    t.match(answer, /application\/problem\+json/);
    t.match(answer, new RegExp(`"status":${status},"code":"EINVAL"`));
  }
});

t.test('truncate: a client that goes away ends the wait, one that stays does not', async (t) => {
  const { listeners, control, latencies } = await setUpListeners(t, [TCP]);
  control.fs.put('a', 'hello');
  const waits: AbortSignal[] = [];
  const port = portOf(listeners[0]);
  const ended = new Promise<void>((resolve, reject) => {
    control.fs.gate = async (signal) => {
      if (signal === undefined) return reject(new TypeError('a change has a signal'));
      waits.push(signal);
      await once(signal, 'abort');
      resolve();
      throw new DaxdError('cancelled', 'the client is gone');
    };
  });
  const body = JSON.stringify({ path: 'a', size: 0 });
  const socket = connect(port, '127.0.0.1');
  socket.write(
    'POST /v1/partitions/pmem0p1/truncate HTTP/1.1\r\nhost: localhost\r\n' +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  while (waits.length === 0) await call({ port, path: '/livez' });
  t.equal(waits[0]?.aborted, false, 'while the client is there');
  socket.destroy();
  await ended;
  t.strictSame(control.fs.calls, [], 'nothing was changed');
  const gone = [...latencies].find(({ code, histogram }) => code === 499 && histogram.count === 1);
  t.equal(gone?.route, '/v1/partitions/:partition/truncate');
});

t.test('latencies: each answer once, under its route, or under none', async (t) => {
  const { listeners, control, latencies } = await setUpListeners(t, [TCP]);
  control.fs.put('a', 'hello');
  const port = portOf(listeners[0]);
  const stat = '/v1/partitions/pmem0p1/stat/a';
  await call({ port, path: stat });
  await call({ port, path: stat, method: 'HEAD' });
  const json = { 'content-type': 'application/json' };
  await call({ port, path: stat, method: 'PATCH', headers: json }, '{"mode":384}');
  await call({ port, path: '/v1/leases/none', method: 'DELETE' });
  await call({ port, path: '/nowhere' });
  await call({ port, path: '/nowhere', method: 'PATCH' });
  control.draining = true;
  await call({ port, path: '/v1/leases', method: 'POST', headers: json }, '{}');
  const seen = [...latencies]
    .filter(({ histogram }) => histogram.count > 0)
    .map(({ route, method, code, histogram }) => [route, method, code, histogram.count]);
  t.strictSame(
    seen.toSorted((a, b) => (String(a) < String(b) ? -1 : 1)),
    [
      ['/v1/leases', 'POST', 503, 1],
      ['/v1/leases/:id', 'DELETE', 404, 1],
      ['/v1/partitions/:partition/stat/*', 'GET', 200, 1],
      ['/v1/partitions/:partition/stat/*', 'HEAD', 200, 1],
      ['/v1/partitions/:partition/stat/*', 'PATCH', 200, 1],
      ['none', 'GET', 404, 1],
      ['none', 'other', 404, 1],
    ],
  );
});

t.test('uploads: a body that is cut changes nothing', async (t) => {
  const { listeners, control } = await setUpListeners(t, [TCP]);
  control.fs.put('a', 'old');
  const port = portOf(listeners[0]);
  const socket = connect(port, '127.0.0.1');
  socket.write(
    'PUT /v1/partitions/pmem0p1/files/a HTTP/1.1\r\nhost: localhost\r\n' +
      'content-length: 1000000\r\n\r\nnew',
  );
  await call({ port, path: '/livez' });
  socket.destroy();
  await once(socket, 'close');
  await call({ port, path: '/livez' });
  t.equal(control.fs.bytes('a'), 'old');
});

t.test('listeners: the kernel asks whether a silent client is there', async (t) => {
  const { listeners } = await setUpListeners(t, [TCP]);
  const socket = connect(portOf(listeners[0]), '127.0.0.1');
  t.teardown(() => socket.destroy());
  socket.write('GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n');
  await once(socket, 'data');
  t.equal(timerOf(socket), 2);
});

t.test('listeners: a connection that a lease ends with is not closed for being idle', async (t) => {
  const { options } = await setUpListeners(t, []);
  const limits = { ...options.limits, keepAliveTimeoutMs: 100 };
  const listener = await openListener(t, TCP, { ...options, limits });
  const asked = { partition: 'pmem0p2', offset: 0, length: 4096, access: 'read' };
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => {
    agent.destroy();
  });
  const port = portOf(listener);
  const lend = async () => {
    const headers = { 'content-type': 'application/json' };
    const sent = request({ port, agent, method: 'POST', path: '/v1/leases', headers });
    sent.end(JSON.stringify({ ...asked, ttl_ms: 60_000, connection: true }));
    const [answer] = await once(sent, 'response');
    t.equal(answer.statusCode, 201);
    await once(answer.resume(), 'end');
    return { isReused: sent.reusedSocket };
  };
  await lend();
  // Another one, idle since later, is closed for it.
  const other = connect(port, '127.0.0.1', () => {
    other.write('GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n');
  });
  await once(other.resume(), 'close');
  t.equal((await lend()).isReused, true, 'it is there still');
});
