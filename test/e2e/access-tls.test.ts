/** HTTPS, certificates of clients, and addresses beyond loopback, judged by curl and openssl. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { makeCertificates } from '../support/nbd/certificates.js';
import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { bearer } from './bearer.js';
import { curl, post, runVerb, startDaxd, startRefused } from './daxd.js';

const COMMANDS = ['curl', 'certtool', 'openssl'];
const READER = 'r'.repeat(64);

interface Keys {
  /** Where a file of them is. */
  readonly file: (name: string) => string;
  readonly ca: string[];
  readonly client: string[];
  /** Options of serve. */
  readonly tls: string[];
  readonly clientCa: string[];
}

function keysOf(t: Test): Keys {
  const at = makeCertificates(join(scratchDirectory(t), 'keys'));
  const file = (name: string): string => join(at, `${name}.pem`);
  return {
    file,
    ca: ['--cacert', file('ca-cert')],
    client: ['--cert', file('client-cert'), '--key', file('client-key')],
    tls: ['--tls-cert', file('server-cert'), '--tls-key', file('server-key')],
    clientCa: ['--tls-client-ca', file('ca-cert')],
  };
}

function tokenFile(t: Test): string[] {
  const path = join(scratchDirectory(t), 'tokens');
  writeFileSync(path, `scraper read ${READER}\n`, { mode: 0o600 });
  return ['--token-file', path];
}

t.test('tls: off loopback a token over HTTPS is taken, and plain HTTP is not there', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { ca, tls } = keysOf(t);
  const listen = ['--listen', '0.0.0.0:0'];
  const daxd = await startDaxd(t, [...listen, ...tls, ...tokenFile(t)], scratchDirectory(t));
  const [, local, open] = /(https:\/\/127\S+) (https:\/\/0\.0\.0\.0:\d+)$/.exec(
    daxd.stdout[0] ?? '',
  ) ?? ['', '', ''];
  for (const url of [local, open.replace('0.0.0.0', '127.0.0.1')]) {
    t.equal((await curl(...ca, `${url}/v1/device`)).status, 401);
    t.equal((await curl(...ca, ...bearer(READER), `${url}/v1/device`)).status, 200);
    const unmount = post(`${url}/v1/partitions/pmem0p1/unmount`);
    t.equal((await curl(...ca, ...bearer(READER), ...unmount)).status, 403);
    t.equal((await curl(...bearer(READER), `${url}/v1/device`)).status, 0, 'curl looks, too');
    t.equal((await curl(`${url.replace('https', 'http')}/livez`)).status, 0);
  }
  t.equal(await daxd.stop(), 0);
});

t.test('tls: a certificate of the client CA stands for all scopes', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { ca, client, tls, clientCa } = keysOf(t);
  const stranger = keysOf(t).client;
  const listen = ['--listen', '0.0.0.0:0'];
  const daxd = await startDaxd(t, [...listen, ...tls, ...clientCa], scratchDirectory(t));
  const device = `${daxd.url}/v1/device`;
  t.equal((await curl(...ca, device)).status, 0, 'none');
  t.equal((await curl(...ca, ...stranger, device)).status, 0, 'of another CA');
  t.equal((await curl(...ca, ...client, device)).status, 200);
  const unmount = post(`${daxd.url}/v1/partitions/pmem0p1/unmount`);
  t.equal((await curl(...ca, ...client, ...unmount)).status, 200);
  t.equal(await daxd.stop(), 0);
  t.match(daxd.stderr.join('\n'), /every caller with a certificate of --tls-client-ca/);
});

t.test('tls: with a client CA and tokens a caller needs both', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { ca, client, tls, clientCa } = keysOf(t);
  const options = [...tls, ...clientCa, ...tokenFile(t)];
  const daxd = await startDaxd(t, options, scratchDirectory(t));
  const device = `${daxd.url}/v1/device`;
  t.equal((await curl(...ca, ...bearer(READER), device)).status, 0);
  t.equal((await curl(...ca, ...client, device)).status, 401);
  t.equal((await curl(...ca, ...client, ...bearer(READER), device)).status, 200);
  const unmount = post(`${daxd.url}/v1/partitions/pmem0p1/unmount`);
  t.equal((await curl(...ca, ...client, ...bearer(READER), ...unmount)).status, 403);
  t.equal(await daxd.stop(), 0);
});

t.test('tls: old versions are refused, and an open handshake does not keep daxd', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { tls } = keysOf(t);
  const daxd = await startDaxd(t, tls, scratchDirectory(t));
  const { host, hostname, port } = new URL(daxd.url);
  for (const [version, accepted] of [
    ['-tls1_1', false],
    ['-tls1_2', true],
    ['-tls1_3', true],
  ] as const) {
    const { status } = spawnSync(
      'openssl',
      ['s_client', '-connect', host, version, '-cipher', 'ALL:@SECLEVEL=0'],
      { input: '', timeout: 20_000 },
    );
    t.equal(status === 0, accepted, version);
  }
  const silent = connect(Number(port), hostname);
  silent.on('error', () => {});
  await once(silent, 'connect');
  const ended = once(silent, 'close');
  t.equal(await daxd.stop(), 0);
  await ended;
});

t.test('tls: what is open to other machines and to everybody does not start', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { tls } = keysOf(t);
  for (const options of [[], tls, tokenFile(t)]) {
    const refused = startRefused(['--listen', '0.0.0.0:0', ...options], scratchDirectory(t));
    t.equal(refused.exit, 2);
    t.match(refused.stderr, /0\.0\.0\.0:0 is reachable from other machines: give --tls-cert/);
  }
});

t.test('verbs: HTTPS, a certificate and a token from the environment', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { file, tls, clientCa } = keysOf(t);
  const options = [...tls, ...clientCa, ...tokenFile(t)];
  const daxd = await startDaxd(t, options, scratchDirectory(t));
  const trust = { NODE_EXTRA_CA_CERTS: file('ca-cert') };
  const shown = { DAXD_TLS_CERT: file('client-cert'), DAXD_TLS_KEY: file('client-key') };
  const run = (env: Record<string, string>, ...args: string[]) => runVerb(daxd.url, args, '', env);

  const all = { ...trust, ...shown, DAXD_TOKEN: READER };
  t.match(run(all, 'status').stdout, /^disk +pmem0$/m);
  t.match(run({ ...shown, DAXD_TOKEN: READER }, 'status'), {
    exit: 69,
    stderr:
      /no daemon that is trusted answers .*self.signed.*: name the file of its CA in NODE_EXTRA_CA_CERTS\n$/,
  });
  t.match(run({ ...trust, DAXD_TOKEN: READER }, 'status'), {
    exit: 69,
    stderr: /it may want a certificate/,
  });
  const stranger = keysOf(t).file;
  const other = { DAXD_TLS_CERT: stranger('client-cert'), DAXD_TLS_KEY: stranger('client-key') };
  t.match(run({ ...trust, ...other, DAXD_TOKEN: READER }, 'status'), {
    exit: 69,
    stderr:
      /^daxd: https:\S+ ended the connection: it may not take the certificate that it was shown/,
  });
  t.match(run({ ...trust, ...shown }, 'status'), { exit: 1, stderr: /EACCES: no token/ });
  t.match(run(all, 'put', 'a'), { exit: 1, stderr: /EPERM: token scraper has no scope write/ });
  t.match(run({ ...all, DAXD_TOKEN: 'a b' }, 'status'), { exit: 2, stderr: /DAXD_TOKEN/ });
  t.equal(await daxd.stop(), 0);
});

t.test('verbs: TLS where there is none, none where there is, and another name', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { file, tls } = keysOf(t);
  const trust = { NODE_EXTRA_CA_CERTS: file('ca-cert') };
  const [open, closed] = await Promise.all([
    startDaxd(t, [], scratchDirectory(t)),
    startDaxd(t, ['--listen', '127.0.0.2:0', ...tls], scratchDirectory(t)),
  ]);
  const unnamed = / (https:\/\/127\.0\.0\.2:\d+)/.exec(closed.stdout[0] ?? '')?.[1] ?? '';
  const wrong: readonly [string, RegExp][] = [
    [open.url.replace('http', 'https'), /^daxd: no TLS is spoken at \S+: .* is called by http:\n$/],
    [closed.url.replace('https', 'http'), /^daxd: http:\S+ ended the connection .* by https:\n$/],
    [
      unnamed,
      /^daxd: no daemon of that name answers at .*: call it by a name that its certificate has\n$/,
    ],
  ];
  for (const [url, stderr] of wrong) {
    t.match(runVerb(url, ['status'], '', trust), { exit: 69, stdout: '', stderr }, url);
  }
  t.strictSame(await Promise.all([open.stop(), closed.stop()]), [0, 0]);
});

/** A holder that shows a certificate where it is given one, and lets go when it is asked to. */
const HOLDER = `
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Daxd } from 'daxd/client';
const { URL: url, CERT, KEY } = process.env;
const tls = CERT && { cert: readFileSync(CERT), key: readFileSync(KEY) };
const asked = { partition: 'pmem0p1', path: 'a', offset: 0, length: 5, access: 'write' };
try {
  const lease = await new Daxd({ url, tls }).lease({ ...asked, ttlMs: 6_000 });
  const [{ bytes }] = await lease.buffers();
  bytes.write('HELLO');
  console.log(lease.id);
  await once(lease, 'recall');
  await lease.release();
} catch (error) {
  console.log(error.name, error.code, error.message);
  process.exitCode = 3;
}`;

t.test('client: holds a lease by its certificate; without one daxd says no', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { file, ca, client, tls, clientCa } = keysOf(t);
  const daxd = await startDaxd(t, [...tls, ...clientCa], scratchDirectory(t));
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
  const call = async (...args: string[]) => curl(...ca, ...client, ...args);
  await call('-X', 'PUT', '--data-binary', 'hello', `${p1}/files/a`);
  const start = (env: Record<string, string>) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', HOLDER], {
      env: { ...process.env, URL: daxd.url, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    return { said: text(child.stdout), child, exited: once(child, 'close') };
  };
  const trust = { NODE_EXTRA_CA_CERTS: file('ca-cert') };
  const shown = { CERT: file('client-cert'), KEY: file('client-key') };

  const holder = start({ ...trust, ...shown });
  const [chunk] = await once(holder.child.stdout, 'data');
  const lease = `${daxd.url}/v1/leases/${String(chunk).trim()}`;
  // Longer than its ttl: it is renewed over TLS, too.
  await sleep(7_500);
  t.match((await call(lease)).json, { state: 'active', path: 'a' });
  t.equal((await call(`${p1}/files/a`)).body, 'HELLO');
  t.equal((await call(...post(`${p1}/truncate`, { path: 'a', size: 0 }))).status, 200);
  t.strictSame(await holder.exited, [0, null]);

  for (const [env, why] of [
    [trust, /^ClientError \w+ https:\S+ ended the connection: it may want a certificate, give one/],
    [
      shown,
      /^ClientError SELF_SIGNED_CERT_IN_CHAIN no daemon that is trusted answers .*self-signed/,
    ],
  ] as const) {
    const refused = start(env);
    t.strictSame(await refused.exited, [3, null]);
    t.match(await refused.said, why);
  }
  t.equal(await daxd.stop(), 0);
});
