import { fastify } from 'fastify';
import t from 'tap';

import { authorise } from '../../../src/http/authorisation.js';
import { Callers, digestOf } from '../../../src/http/callers.js';
import type { Token } from '../../../src/http/callers.js';
import { SCOPES, expandScopes } from '../../../src/http/scope.js';
import type { Scope } from '../../../src/http/scope.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { setUpHttp } from './set-up.js';

/** The token that has one scope is named after it, and made of its name. */
const TOKENS: readonly Token[] = SCOPES.map((scope) => ({
  name: scope,
  scopes: expandScopes([scope]),
  digest: digestOf(secretOf(scope)),
}));

function secretOf(scope: Scope): string {
  return `the-token-with-scope-${scope}`;
}

function bearer(token: string): { authorization: string } {
  return { authorization: `Bearer ${token}` };
}

/** What a call takes, told from its method and path: the table goes by operation ids. */
function expectedScope(method: string, url: string): Scope | undefined {
  if (url === '/livez' || url === '/readyz') return undefined;
  if (method === 'GET' || method === 'HEAD') return 'read';
  if (url === '/v1/leases/:id/revoke') return 'admin';
  if (url.startsWith('/v1/leases')) return 'lease';
  if (url.startsWith('/v1/quarantine')) return 'admin';
  const isAboutPartitions = /^\/v1\/partitions(\/:partition(\/(format|mount|unmount))?)?$/.test(
    url,
  );
  return isAboutPartitions ? 'admin' : 'write';
}

t.test('authorise: every route asks for its scope, and for a token first', async (t) => {
  const { app, latencies, fatal } = await setUpHttp(t, TOKENS);
  const series = new Map(
    [...latencies].map(({ route, method }) => [`${method} ${route}`, { route, method }]),
  );
  const listed = app.printRoutes({ commonPrefix: false }).match(/\b[A-Z]+(?=[,)])/g) ?? [];
  t.equal(series.size, listed.length, 'no route is left out');
  t.ok(series.size > 60, `${series.size} routes`);

  for (const [name, { route, method }] of series) {
    const url = route.replace(':partition', 'pmem0p1').replace(':id', 'none').replace('*', 'file');
    const status = async (headers: object): Promise<number> => {
      // A stream of events has no end: what comes behind the head is not waited for.
      const response = await app.inject({
        method: method as 'GET',
        url,
        // Wrong for most, which a stranger is not told.
        headers: { host: 'localhost', 'idempotency-key': '', ...headers },
        payloadAsStream: true,
      });
      response.stream().destroy();
      return response.statusCode;
    };
    const needed = expectedScope(method, route);
    if (needed === undefined) {
      t.equal(await status({}), 200, `${name} without a token`);
      continue;
    }
    t.equal(await status({}), 401, `${name} without a token`);
    t.equal(await status(bearer('the-token-of-nobody')), 401, `${name} with an unknown token`);
    for (const scope of SCOPES) {
      const answered = await status(bearer(secretOf(scope)));
      if (scope === needed || scope === 'admin') {
        t.notOk([401, 403].includes(answered), `${name} with scope ${scope}: ${answered}`);
      } else {
        t.equal(answered, 403, `${name} with scope ${scope}`);
      }
    }
  }
  t.strictSame(fatal, []);
});

t.test('authorise: a change that may take leases needs admin for that', async (t) => {
  const { app } = await setUpHttp(t, TOKENS);
  for (const op of ['truncate', 'punch-hole', 'zero-range', 'fallocate']) {
    const range = op === 'truncate' ? { size: 0 } : { offset: 0, length: 4096 };
    const status = async (scope: Scope, onConflict: string): Promise<number> => {
      const response = await app.inject({
        method: 'POST',
        url: `/v1/partitions/pmem0p1/${op}`,
        headers: { host: 'localhost', ...bearer(secretOf(scope)) },
        payload: { path: 'none', ...range, on_conflict: onConflict },
      });
      return response.statusCode;
    };
    t.equal(await status('write', 'revoke'), 403, op);
    t.equal(await status('write', 'defer'), 404, op);
    t.equal(await status('admin', 'revoke'), 404, op);
  }
});

t.test('authorise: the OpenAPI document says which scope each operation takes', async (t) => {
  const { get } = await setUpHttp(t, TOKENS);
  const document = (await get('/openapi.json', bearer(secretOf('read')))).json();
  t.match(document.components.securitySchemes, { token: { type: 'http', scheme: 'bearer' } });
  const paths: Record<string, Record<string, { security: unknown }>> = document.paths;
  let operations = 0;
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, { security }] of Object.entries(methods)) {
      const route = path.replace(/\{(\w+)\}/g, ':$1');
      const scope = expectedScope(method.toUpperCase(), route);
      t.strictSame(security, scope === undefined ? [] : [{ token: [scope] }], `${method} ${path}`);
      operations++;
    }
  }
  t.ok(operations > 40, `${operations} operations`);
});

t.test('authorise: refusals say what is missing, and nothing of what was sent', async (t) => {
  const { get, post } = await setUpHttp(t, TOKENS);
  const none = await get('/v1/device');
  t.match(none.json(), { code: 'EACCES', status: 401 });
  t.equal(none.headers['www-authenticate'], 'Bearer realm="daxd"');
  const wrong = await get('/v1/device', bearer('a-token-of-somebody-else'));
  t.match(wrong.json(), { code: 'EACCES', status: 401 });
  t.equal(wrong.headers['www-authenticate'], 'Bearer realm="daxd", error="invalid_token"');
  t.notMatch(wrong.body, /somebody-else/);
  const lacking = await post('/v1/leases', {}, bearer(secretOf('read')));
  t.match(lacking.json(), { code: 'EPERM', status: 403, detail: /token read has no scope lease/ });
});

t.test('authorise: only Bearer and the token itself are taken', async (t) => {
  const { get } = await setUpHttp(t, TOKENS);
  const token = secretOf('read');
  for (const authorization of [`Bearer ${token}`, `bearer ${token}`, `BEARER  ${token} `]) {
    t.equal((await get('/v1/device', { authorization })).statusCode, 200, authorization);
  }
  const wrong = ['', token, 'Bearer', `Basic ${token}`, `Bearer ${token}x`, `Bearer ${token},`];
  for (const authorization of [...wrong, `Bearer x ${token}`, `Bearer ${token} ${token}`]) {
    t.equal((await get('/v1/device', { authorization })).statusCode, 401, authorization);
  }
  t.equal((await get(`/v1/device?access_token=${token}`)).statusCode, 401, 'not in the query');
});

t.test('authorise: what has no route is 401 for strangers and 404 for others', async (t) => {
  const { app, get } = await setUpHttp(t, TOKENS);
  for (const url of ['/', '/v1/nothing', '/livez/x']) {
    t.equal((await get(url)).statusCode, 401, url);
    t.equal((await get(url, bearer(secretOf('lease')))).statusCode, 404, url);
  }
  const headers = { host: 'localhost' };
  const options = await app.inject({ method: 'OPTIONS', url: '/v1/leases', headers });
  t.equal(options.statusCode, 401);
});

t.test('authorise: a foreign Host is refused before a token is looked at', async (t) => {
  const { get } = await setUpHttp(t, TOKENS);
  const host = 'evil.example';
  t.equal((await get('/v1/device', { host, ...bearer(secretOf('admin')) })).statusCode, 403);
});

t.test('authorise: a stranger does not learn that the daemon drains', async (t) => {
  const { post, control } = await setUpHttp(t, TOKENS);
  control.draining = true;
  t.equal((await post('/v1/leases', {})).statusCode, 401);
  t.equal((await post('/v1/leases', {}, bearer(secretOf('lease')))).statusCode, 503);
});

t.test('authorise: without tokens every caller may do everything', async (t) => {
  const { get, post } = await setUpHttp(t);
  t.equal((await get('/v1/device')).statusCode, 200);
  t.equal((await get('/v1/device', bearer('anything-at-all'))).statusCode, 200);
  t.equal((await post('/v1/partitions/pmem0p1/unmount')).statusCode, 200);
});

t.test('authorise: a route whose operation has no row stops the start', async (t) => {
  const { lent } = await setUpHttp(t);
  for (const schema of [{ operationId: 'inventedLately' }, {}, undefined]) {
    const app = fastify();
    const callers = new Callers(undefined, new WeakSet());
    authorise(app, { callers, leases: lent.leases });
    t.throws(() => app.get('/x', { ...(schema && { schema }) }, () => 'x'), InvariantError);
    await app.close();
  }
});
