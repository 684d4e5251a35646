import t from 'tap';

import { digestOf } from '../../../src/http/callers.js';
import type { Token } from '../../../src/http/callers.js';
import { isLeaseSecret, newLeaseSecret } from '../../../src/http/lease-secret.js';
import { expandScopes } from '../../../src/http/scope.js';
import type { Scope } from '../../../src/http/scope.js';
import { setUpHttp } from './set-up.js';

const ASKED = { partition: 'pmem0p1', path: 'file', offset: 0, length: 4096, access: 'read' };
const HOLDER = { authorization: 'Bearer the-token-of-a-holder' };
const READER = { authorization: 'Bearer the-token-of-a-reader' };
const ADMIN = { authorization: 'Bearer the-token-of-an-admin' };
const TOKENS = [
  tokenOf(HOLDER, 'lease'),
  tokenOf(READER, 'read'),
  tokenOf(ADMIN, 'admin'),
] as const;

function tokenOf({ authorization }: typeof HOLDER, scope: Scope): Token {
  const digest = digestOf(authorization.slice('Bearer '.length));
  return { name: scope, scopes: expandScopes([scope]), digest };
}

async function setUp(t: Parameters<typeof setUpHttp>[0]) {
  const http = await setUpHttp(t, TOKENS);
  http.lent.fs.create('file', ['w']);
  const grant = async (): Promise<{ id: string; secret: string; body: string }> => {
    const { body, statusCode } = await http.post('/v1/leases', { ...ASKED, ttl_ms: 9000 }, HOLDER);
    t.equal(statusCode, 201);
    return { ...JSON.parse(body), body };
  };
  const call = (method: 'POST' | 'DELETE', url: string, headers: object) =>
    http.app.inject({ method, url, headers: { host: 'localhost', ...headers } });
  return { ...http, grant, call };
}

t.test('newLeaseSecret: 256 bits that are never the same, and a hash that tells', async (t) => {
  const made = Array.from({ length: 2000 }, () => newLeaseSecret());
  t.equal(new Set(made.map(({ secret }) => secret)).size, made.length);
  for (const { secret } of made) t.match(secret, /^[\w-]{43}$/);
  const [one, other] = made;
  if (one === undefined || other === undefined) throw new Error('two were made');
  t.equal(isLeaseSecret(one.secret, one.secretHash), true);
  t.equal(isLeaseSecret(other.secret, one.secretHash), false);
  t.equal(isLeaseSecret(one.secretHash, one.secretHash), false, 'the hash is not the secret');
  t.equal(isLeaseSecret('', one.secretHash), false);
  t.equal(isLeaseSecret('', undefined), false, 'a lease without a secret is nobody’s');
});

t.test('secret: renew, release and delete take it; missing and wrong are alike', async (t) => {
  const { call, grant, get, lent } = await setUp(t);
  const { id, secret } = await grant();
  const other = await grant();
  const url = `/v1/leases/${id}`;
  const calls = [
    ['POST', `${url}/renew`],
    ['POST', `${url}/release`],
    ['DELETE', url],
  ] as const;
  for (const [method, path] of calls) {
    const without = await call(method, path, HOLDER);
    t.match(without.json(), { code: 'EPERM', status: 403 }, path);
    for (const wrong of ['', 'x', other.secret, `${secret}, ${secret}`, `${secret}=`]) {
      const refused = await call(method, path, { ...HOLDER, 'lease-secret': wrong });
      t.equal(refused.body, without.body, `${path} with "${wrong}"`);
    }
    const reader = await call(method, path, { ...READER, 'lease-secret': secret });
    t.match(reader.json(), { code: 'EPERM', detail: /no scope lease/ }, 'a scope first');
  }
  t.equal(lent.pinnedPages(), 1, 'the page of both is pinned as before');
  t.equal((await get(url, READER)).json().state, 'active');
  for (const [method, path] of calls) {
    const { statusCode } = await call(method, path, { ...HOLDER, 'lease-secret': secret });
    t.equal(statusCode, method === 'DELETE' ? 204 : 200, path);
  }
  t.equal((await call('POST', '/v1/leases/none/renew', HOLDER)).statusCode, 404);
});

t.test('secret: every route that changes one lease takes it', async (t) => {
  const { app, grant, latencies } = await setUp(t);
  const { id } = await grant();
  const routes = new Map(
    [...latencies]
      .filter(({ route, method }) => route.includes('/leases/:id') && !/GET|HEAD/.test(method))
      .map(({ route, method }) => [`${method} ${route}`, { route, method }]),
  );
  t.ok(routes.size >= 3, [...routes.keys()].join());
  for (const [name, { route, method }] of routes) {
    const url = route.replace(':id', id);
    const headers = { host: 'localhost', ...HOLDER };
    const { statusCode } = await app.inject({ method: method as 'POST', url, headers });
    t.equal(statusCode, 403, name);
  }
});

t.test('secret: an admin needs none', async (t) => {
  const { call, grant } = await setUp(t);
  const { id } = await grant();
  t.equal((await call('POST', `/v1/leases/${id}/renew`, ADMIN)).statusCode, 200);
  t.equal((await call('DELETE', `/v1/leases/${id}`, ADMIN)).statusCode, 204);
});

t.test('secret: it is in the 201 alone, and in no log', async (t) => {
  const { call, grant, get, lent } = await setUp(t);
  const { id, secret, body } = await grant();
  t.equal(body.split(secret).length, 2, 'once in the answer');
  const hash = lent.leases.get(id).terms.secretHash ?? '';
  t.match(hash, /^[\w-]{43}$/);
  const url = `/v1/leases/${id}`;
  const header = { ...HOLDER, 'lease-secret': secret };
  const answers = [
    await get(url, READER),
    await get('/v1/leases', READER),
    await call('POST', `${url}/renew`, header),
    await call('POST', `${url}/release`, HOLDER),
    await call('POST', `${url}/release`, header),
  ];
  const logged = JSON.stringify(lent.lines);
  t.match(logged, /lease granted.*lease released/);
  for (const text of [...answers.map((answer) => answer.body), logged, body.replace(secret, '')]) {
    t.notOk(text.includes(secret) || text.includes(hash), text);
  }
});

t.test('secret: without tokens a lease has one too, and nobody is asked for it', async (t) => {
  const { post, remove, lent } = await setUpHttp(t);
  lent.fs.create('file', ['w']);
  const lease = (await post('/v1/leases', { ...ASKED, ttl_ms: 9000 })).json();
  t.match(lease.secret, /^[\w-]{43}$/);
  t.equal((await post(`/v1/leases/${lease.id}/renew`)).statusCode, 200);
  t.equal((await remove(`/v1/leases/${lease.id}`)).statusCode, 204);
});
