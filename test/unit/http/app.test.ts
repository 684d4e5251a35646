import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { setUpHttp } from './set-up.js';

t.test('errors: every refusal is a problem with code, status, title and detail', async (t) => {
  const { get } = await setUpHttp(t);
  for (const url of ['/nothing', '/', '/v1/nothing', '/v1/partitions/pmem0p9/files/x']) {
    const reply = await get(url);
    t.equal(reply.statusCode, 404, url);
    t.match(reply.headers['content-type'], /^application\/problem\+json/);
    const problem = reply.json();
    t.equal(problem.code, 'ENOENT');
    t.equal(problem.status, 404);
    t.type(problem.title, 'string');
    t.type(problem.detail, 'string');
    t.equal(problem.instance, url);
  }
});

t.test('errors: a broken invariant ends the daemon, a refusal does not', async (t) => {
  const { get, control, fatal } = await setUpHttp(t);
  t.equal((await get('/nothing')).statusCode, 404);
  t.equal(fatal.length, 0);
  control.failure = new InvariantError('a count is never negative');
  const reply = await get('/v1/device');
  t.equal(reply.statusCode, 500);
  t.equal(reply.json().code, 'EIO');
  t.notMatch(reply.body, /never negative/, 'the defect stands in the log, not in the answer');
  t.equal(fatal.length, 1);
});

t.test('errors: an answer that V8 has no string for does not end the daemon', async (t) => {
  const { get, control, fatal } = await setUpHttp(t);
  try {
    'x'.repeat(2 ** 30);
  } catch (error) {
    control.failure = error as Error;
  }
  const reply = await get('/v1/device');
  t.equal(reply.statusCode, 500);
  t.match(reply.json(), { code: 'EIO', detail: /too long/ });
  t.equal(fatal.length, 0);
});

t.test('host: only own names and addresses are answered', async (t) => {
  const { get } = await setUpHttp(t);
  for (const host of ['127.0.0.1:8470', 'localhost', 'LOCALHOST:99', 'daxd.example:80']) {
    t.equal((await get('/livez', { host })).statusCode, 200, host);
  }
  for (const host of ['evil.example', '127.0.0.1.evil.example', 'localhost.']) {
    const reply = await get('/livez', { host });
    t.equal(reply.statusCode, 403, host);
    t.equal(reply.json().code, 'EACCES');
  }
});

t.test('origin: another site is refused on every method', async (t) => {
  const { get, post } = await setUpHttp(t);
  t.equal((await get('/livez', { origin: 'http://127.0.0.1:8470' })).statusCode, 200);
  for (const origin of ['http://evil.example', 'null', 'http://127.0.0.1:3000']) {
    t.equal((await get('/livez', { origin })).statusCode, 403, origin);
    t.equal((await post('/v1/partitions/pmem0p1/unmount', undefined, { origin })).statusCode, 403);
  }
});

t.test('draining: changes and new leases get 503, the rest goes on', async (t) => {
  const { get, post, put, remove, control } = await setUpHttp(t);
  control.fs.put('a', 'x');
  const asked = { partition: 'pmem0p2', offset: 0, length: 4096, access: 'read', ttl_ms: 5000 };
  const lease = (await post('/v1/leases', asked)).json();
  control.draining = true;
  for (const reply of [
    await post('/v1/leases', asked),
    await post('/v1/partitions/pmem0p1/truncate', { path: 'a', size: 0 }),
    await put('/v1/partitions/pmem0p1/files/a', 'y'),
    await remove('/v1/partitions/pmem0p1/files/a'),
  ]) {
    t.equal(reply.statusCode, 503);
    t.equal(reply.json().code, 'draining');
  }
  t.equal(control.fs.bytes('a'), 'x', 'the file is unchanged');
  t.equal((await get('/v1/partitions/pmem0p1/files/a')).body, 'x');
  t.equal((await remove(`/v1/leases/${lease.id}`)).statusCode, 204, 'a release is taken');
});

t.test('openapi: describes each route once, from the schemas that validate', async (t) => {
  const { get } = await setUpHttp(t);
  const document = (await get('/openapi.json')).json();
  t.equal(document.openapi, '3.1.0');
  t.equal(document.info.version, '9.9.9');
  const truncate = document.paths['/v1/partitions/{partition}/truncate'].post;
  const schema = truncate.requestBody.content['application/json'].schema;
  t.strictSame(Object.keys(schema.properties), ['path', 'size', 'on_conflict', 'deadline_ms']);
  t.equal(schema.additionalProperties, false);
  const paths: Record<string, Record<string, { operationId: unknown }>> = document.paths;
  const ids = Object.values(paths).flatMap((path) =>
    Object.values(path).map(({ operationId }) => operationId),
  );
  t.equal(new Set(ids).size, ids.length, 'operation ids are unique');
  t.ok(ids.every((id) => typeof id === 'string'));
});

t.test('readyz: says why not', async (t) => {
  const { get, control } = await setUpHttp(t);
  t.strictSame((await get('/readyz')).json(), { ready: true, reasons: [] });
  control.reasons = ['draining'];
  const reply = await get('/readyz');
  t.equal(reply.statusCode, 503);
  t.strictSame(reply.json(), { ready: false, reasons: ['draining'] });
  t.strictSame((await get('/livez')).json(), { alive: true });
  t.equal((await get('/metrics')).body, 'daxd_x 1\n');
});

t.test('latencies: by the pattern of the route, never the path', async (t) => {
  const { get, control, latencies } = await setUpHttp(t);
  control.fs.put('secret', 'x');
  await get('/v1/partitions/pmem0p1/files/secret');
  await get('/nothing/at/all');
  const seen = [...latencies].filter(({ histogram }) => histogram.count > 0);
  t.strictSame(seen.map(({ route, method, code }) => `${method} ${route} ${code}`).toSorted(), [
    'GET /v1/partitions/:partition/files/* 200',
    'GET none 404',
  ]);
  t.ok([...latencies].some(({ route, code }) => route === '/v1/leases' && code === 201));
});
