import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { connect } from 'node:net';
import { connect as secure } from 'node:tls';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { ConnectionOptions } from 'node:tls';

import t from 'tap';
import type { Test } from 'tap';

import { Listener } from '../../../src/http/listeners.js';
import { loadTls } from '../../../src/http/tls-files.js';
import type { TlsOptions } from '../../../src/http/tls-files.js';
import { clientCertificate, makeCertificates } from '../../support/nbd/certificates.js';
import { requires } from '../../support/requires.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';
import { call, portOf, setUpListeners, timerOf } from './set-up.js';

const TCP = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;
const COMMANDS = ['certtool'];

function certificates(t: Test): string {
  return makeCertificates(join(temporaryDirectory(t), 'keys'));
}

async function tlsOf(keys: string, client: 'asked' | 'not asked'): Promise<TlsOptions> {
  return loadTls({
    cert: join(keys, 'server-cert.pem'),
    key: join(keys, 'server-key.pem'),
    clientCa: client === 'asked' ? join(keys, 'ca-cert.pem') : undefined,
  });
}

/** The status of /livez; the code of the error where the connection ends before one. */
async function livez(port: number, options: ConnectionOptions): Promise<number | string> {
  const outgoing = request({ port, path: '/livez', agent: false, ...options }).end();
  try {
    const [response] = await once(outgoing, 'response');
    response.resume();
    return response.statusCode;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}

t.test('tls: TCP speaks it, and a Unix socket does not', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const path = join(temporaryDirectory(t), 's');
  const tls = await tlsOf(keys, 'not asked');
  const { listeners } = await setUpListeners(t, [TCP, { kind: 'unix', path }], tls);
  t.match(listeners[0]?.url, /^https:\/\/127\.0\.0\.1:\d+$/);
  const { ca } = clientCertificate(keys);
  t.equal(await livez(portOf(listeners[0]), { ca, servername: 'localhost' }), 200);
  t.match(await livez(portOf(listeners[0]), {}), /CERT|VERIFY/, 'the client looks, too');
  t.equal((await call({ socketPath: path, path: '/livez' })).status, 200);
});

t.test('tls: the kernel asks whether a silent client is there', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { listeners } = await setUpListeners(t, [TCP], await tlsOf(certificates(t), 'not asked'));
  const socket = connect(portOf(listeners[0]), '127.0.0.1');
  t.teardown(() => socket.destroy());
  await once(secure({ socket, rejectUnauthorized: false }), 'secureConnect');
  t.equal(timerOf(socket), 2);
});

t.test('tls: plain HTTP and noise end their connection, and nothing else', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const { listeners } = await setUpListeners(t, [TCP], await tlsOf(keys, 'not asked'));
  const port = portOf(listeners[0]);
  for (const bytes of [
    'GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n',
    '\0'.repeat(64),
    '\x16\x03\x01\0\x01\x09',
  ]) {
    const socket = connect(port, '127.0.0.1');
    // The end of what is sent would end it, too.
    socket.write(bytes);
    t.notMatch(await text(socket).catch(() => ''), /HTTP/, JSON.stringify(bytes));
  }
  const { ca } = clientCertificate(keys);
  t.equal(await livez(port, { ca, servername: 'localhost' }), 200);
});

t.test('tls: with a client CA only its certificates for clients are taken', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const { listeners } = await setUpListeners(t, [TCP], await tlsOf(keys, 'asked'));
  const port = portOf(listeners[0]);
  const right = clientCertificate(keys);
  t.equal(await livez(port, right), 200);
  const { ca, servername } = right;
  const other = clientCertificate(certificates(t));
  const { cert, key } = await tlsOf(keys, 'not asked');
  const wrong = { none: {}, 'of another CA': other, 'of a server': { cert, key } } as const;
  for (const [what, own] of Object.entries<ConnectionOptions>(wrong)) {
    const options = { ...own, ca, servername };
    t.type(await livez(port, options), 'string', `a certificate ${what} is no answer`);
  }
  t.equal(await livez(port, { ...right, maxVersion: 'TLSv1.2' }), 200);
  t.type(await livez(port, { ca, servername, maxVersion: 'TLSv1.2' }), 'string');
  t.equal(await livez(port, right), 200, 'it goes on');
});

t.test('tls: a handshake that never ends does not keep the listener', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const { options } = await setUpListeners(t, [], await tlsOf(keys, 'asked'));
  // The time that a handshake may take would end it, too.
  const limits = { ...options.limits, headersTimeoutMs: 3_600_000 };
  const listener = await Listener.open(TCP, { ...options, limits });
  const socket = connect(portOf(listener), '127.0.0.1');
  await once(socket, 'connect');
  t.equal(await livez(portOf(listener), clientCertificate(keys)), 200, 'it is accepted by now');
  const ended = once(socket, 'close');
  socket.on('error', () => {});
  const closed = listener.close();
  listener.cut();
  await Promise.all([closed, ended]);
  t.pass('both are gone');
});

t.test('loadTls: names the option and the file that is not what it should be', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const other = certificates(t);
  const noise = join(temporaryDirectory(t), 'noise');
  writeFileSync(noise, 'noise');
  const empty = join(temporaryDirectory(t), 'empty');
  writeFileSync(empty, '');
  const damaged = join(temporaryDirectory(t), 'damaged');
  writeFileSync(damaged, '-----BEGIN CERTIFICATE-----\nzzz\n-----END CERTIFICATE-----\n');
  const right = {
    cert: join(keys, 'server-cert.pem'),
    key: join(keys, 'server-key.pem'),
    clientCa: join(keys, 'ca-cert.pem'),
  };
  t.ok(await loadTls(right));
  const wrong: readonly [Partial<typeof right>, RegExp][] = [
    [{ cert: noise }, /--tls-cert .*noise holds no certificate in PEM/],
    [{ cert: empty }, /--tls-cert .*empty holds no certificate in PEM/],
    [{ cert: damaged }, /--tls-cert .*damaged cannot be used/],
    [{ cert: right.key }, /--tls-cert .*holds no certificate/],
    [{ key: noise }, /--tls-key .*noise cannot be used/],
    [{ key: join(other, 'server-key.pem') }, /--tls-key .* is not the key of --tls-cert/],
    [{ clientCa: noise }, /--tls-client-ca .*noise holds no certificate/],
    [{ clientCa: empty }, /--tls-client-ca .*empty holds no certificate/],
    [{ clientCa: damaged }, /--tls-client-ca .*damaged cannot be used/],
  ];
  for (const [change, message] of wrong) {
    await t.rejects(loadTls({ ...right, ...change }), { code: 'EINVAL', message }, String(message));
  }
  for (const [change, option] of [
    [{ cert: '/nowhere' }, '--tls-cert'],
    [{ key: '/nowhere' }, '--tls-key'],
    [{ clientCa: '/nowhere' }, '--tls-client-ca'],
  ] as const) {
    const message = `${option} /nowhere is not there: name one that is`;
    await t.rejects(loadTls({ ...right, ...change }), { code: 'ENOENT', message });
  }
});
