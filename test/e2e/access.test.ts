/** Who may call, judged by curl over real sockets. */
import { chmodSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { bearer } from './bearer.js';
import { curl, post, runVerb, startDaxd, startRefused } from './daxd.js';

const READER = 'r'.repeat(64);
const HOLDER = 'h'.repeat(64);
const ROOT = 'a'.repeat(64);
const TOKENS = `# who may call\nscraper read ${READER}\nholder read,lease ${HOLDER}\nroot admin ${ROOT}\n`;

function tokenFile(directory: string): string {
  const path = join(directory, 'tokens');
  writeFileSync(path, TOKENS, { mode: 0o600 });
  return path;
}

t.test('access: without --token-file loopback has all scopes, and the log says so', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const daxd = await startDaxd(t, [], scratchDirectory(t));
  t.equal((await curl(`${daxd.url}/v1/device`)).status, 200);
  t.equal((await curl(...post(`${daxd.url}/v1/partitions/pmem0p1/unmount`))).status, 200);
  t.equal(await daxd.stop(), 0);
  t.match(daxd.stderr.join('\n'), /no --token-file: every caller on loopback .* has all scopes/);
});

t.test('access: with --token-file TCP takes a token, the Unix socket its mode', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const directory = scratchDirectory(t);
  const socket = join(directory, 's');
  const options = ['--token-file', tokenFile(directory), '--listen', `unix:${socket}`];
  const daxd = await startDaxd(t, options, directory);
  const device = `${daxd.url}/v1/device`;
  const unmount = post(`${daxd.url}/v1/partitions/pmem0p1/unmount`);

  t.equal((await curl(`${daxd.url}/livez`)).status, 200, 'a probe needs none');
  t.equal((await curl(`${daxd.url}/readyz`)).status, 200);
  for (const args of [[device], ['-I', device], [`${daxd.url}/metrics`], unmount]) {
    t.equal((await curl(...args)).status, 401, args.join(' '));
    t.equal((await curl(...bearer('x'.repeat(64)), ...args)).status, 401);
  }
  t.match((await curl('-i', device)).body, /^www-authenticate: Bearer realm="daxd"\r$/m);
  t.equal((await curl(...bearer(READER), device)).status, 200);
  t.equal((await curl(...bearer(READER), '-I', device)).status, 200);
  t.match(await curl(...bearer(READER), ...unmount), { status: 403, json: { code: 'EPERM' } });
  t.equal((await curl('--unix-socket', socket, device)).status, 200);
  t.equal(statSync(socket).mode & 0o777, 0o660);
  t.equal((await curl(...bearer(ROOT), ...unmount)).status, 200);
  t.equal(await daxd.stop(), 0);
  const log = daxd.stderr.join('\n');
  t.match(log, /callers over TCP need a token/);
  t.match(log, /token scraper has no scope admin/, 'who was refused is known by name');
  t.notMatch(log, new RegExp(`${READER}|${ROOT}|x{64}`), 'no token is logged');
});

t.test(
  'access: a token file that cannot be used stops the start, and nothing is made',
  async (t) => {
    const directory = scratchDirectory(t);
    const path = tokenFile(directory);
    chmodSync(path, 0o644);
    const refused = startRefused(['--token-file', path], directory);
    t.equal(refused.exit, 1);
    t.match(refused.stderr, /open to every user \(mode 0644\): chmod o= /);
    writeFileSync(join(directory, 'damaged'), 'root admin\n', { mode: 0o600 });
    const damaged = startRefused(['--token-file', join(directory, 'damaged')], directory);
    t.match(damaged.stderr, /damaged: line 1 is not NAME SCOPES TOKEN/);
    const absent = startRefused(['--token-file', join(directory, 'absent')], directory);
    t.match(absent, { exit: 1, stderr: /^daxd: ENOENT: --token-file \S+absent is not there/m });
    t.throws(() => statSync(join(directory, 'daxd-data')), { code: 'ENOENT' });
  },
);

t.test('access: a holder shows the secret of its lease, an admin need not', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const directory = scratchDirectory(t);
  const daxd = await startDaxd(t, ['--token-file', tokenFile(directory)], directory);
  const files = `${daxd.url}/v1/partitions/pmem0p1/files`;
  t.equal((await curl(...bearer(ROOT), '-T', join(directory, 'tokens'), `${files}/a`)).status, 201);
  const leases = `${daxd.url}/v1/leases`;
  const asked = { partition: 'pmem0p1', path: 'a', offset: 0, length: 1, access: 'read' };
  const acquire = [...bearer(HOLDER), ...post(leases, { ...asked, ttl_ms: 60_000 })];
  const { id, secret } = (await curl(...acquire)).json;
  const other = (await curl(...acquire)).json;

  const shown = (text: string): string[] => [...bearer(HOLDER), '-H', `Lease-Secret: ${text}`];
  const renew = post(`${leases}/${id}/renew`);
  const without = await curl(...bearer(HOLDER), ...renew);
  t.match(without, { status: 403, json: { code: 'EPERM' } });
  t.strictSame(await curl(...shown(other.secret), ...renew), without, 'wrong is as missing');
  t.equal((await curl(...shown(secret), ...renew)).status, 200);
  const listed = await curl(...bearer(READER), leases);
  t.equal(listed.json.leases.length, 2);
  t.equal((await curl(...shown(secret), '-X', 'DELETE', `${leases}/${id}`)).status, 204);
  t.equal((await curl(...bearer(ROOT), '-X', 'DELETE', `${leases}/${other.id}`)).status, 204);
  const metrics = await curl(...bearer(READER), `${daxd.url}/metrics`);
  t.equal(await daxd.stop(), 0);
  for (const text of [listed.body, metrics.body, daxd.stderr.join()]) {
    t.notOk(text.includes(secret) || text.includes(other.secret));
    t.notMatch(text, /secret_?hash/i);
  }
});

t.test('verbs: a token, and the secret of a lease, from the environment', async (t) => {
  const directory = scratchDirectory(t);
  const daxd = await startDaxd(t, ['--token-file', tokenFile(directory)], directory);
  const run = (env: Record<string, string>, ...args: string[]) => runVerb(daxd.url, args, 'x', env);
  t.match(run({}, 'status'), { exit: 1, stderr: /EACCES: no token/ });
  t.equal(run({ DAXD_TOKEN: ROOT }, 'put', 'a').exit, 0);

  const holder = { DAXD_TOKEN: HOLDER };
  const [heading, line] = run(holder, 'lease', 'acquire', '--path', 'a').stdout.split('\n');
  t.match(heading, /^ID .* SECRET$/);
  const [id = '', secret = ''] = [/^\S+/, /\S+$/].map((part) => part.exec(line ?? '')?.[0]);
  t.match(run(holder, 'lease', 'renew', id), { exit: 1, stderr: /EPERM/ });
  const shown = { ...holder, DAXD_LEASE_SECRET: secret };
  t.equal(run(shown, 'lease', 'renew', id).exit, 0);
  t.notMatch(run(holder, 'lease', 'list').stdout, secret);
  t.match(run(holder, 'lease', 'release', id), { exit: 1, stderr: /Lease-Secret/ });
  t.equal(run(shown, 'lease', 'release', id).exit, 0);
  t.equal(await daxd.stop(), 0);
});
