import { EventEmitter, once } from 'node:events';

import t from 'tap';
import type { Test } from 'tap';

import { PAGE_SIZE } from '../../../src/lib/units.js';
import { setUpHttp } from './set-up.js';
import type { HttpSetUp } from './set-up.js';

const P = PAGE_SIZE;
const ASKED = {
  partition: 'pmem0p1',
  path: 'file',
  offset: 0,
  length: 4 * P,
  access: 'read',
  ttl_ms: 10_000,
};
const STALE = { status: 412, code: 'stale-generation', title: 'It has changed since' };

/** One range of pages, as a release names it. */
function pages(first: number, count: number): object {
  return { ranges: [{ offset: first * P, length: count * P }] };
}

/** A lease of four pages, and ways to look at its tag. */
async function setUp(t: Test) {
  const http = await setUpHttp(t);
  const file = http.lent.fs.create('file', ['wwww']);
  const granted = await http.post('/v1/leases', ASKED);
  const { id } = granted.json();
  const url = `/v1/leases/${id}`;
  const tagNow = async () => tagOf(await http.get(url));
  return { ...http, file, id, url, tag: tagOf(granted), tagNow };
}

function tagOf({ headers: { etag } }: Awaited<ReturnType<HttpSetUp['get']>>): string {
  return String(etag);
}

/** Lets what is ready run. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Has a truncate wait for the lease; what it returns gives it up. */
function startTruncate({ lent, file }: Awaited<ReturnType<typeof setUp>>, from = 0) {
  const given = new AbortController();
  const runs = lent.leases.list({}).leases[0]?.runs ?? [];
  const wait = lent.layouts.breakLayouts({
    op: 'truncate',
    inode: file.inode,
    from,
    to: Infinity,
    pages: () => runs.map((run) => ({ firstPfn: run.deviceOffset / P, count: run.length / P })),
    signal: given.signal,
  });
  return async (t: Test) => {
    given.abort();
    await t.rejects(wait, { code: 'cancelled' });
  };
}

t.test('ETag: another one after each change, the same on every answer until then', async (t) => {
  const { get, post, remove, url, tag, tagNow, lent } = await setUp(t);
  t.match(tag, /^"toy\.1"$/);
  t.equal(await tagNow(), tag);
  lent.clock.advance(4_000);
  t.equal(tagOf(await post(`${url}/renew`)), tag, 'time is no change');
  const seen = [tag];
  const noteNew = (next: string, why: string): void => {
    t.notOk(seen.includes(next), why);
    seen.push(next);
  };
  lent.clock.advance(10_001);
  noteNew(await tagNow(), 'suspect');
  noteNew(tagOf(await post(`${url}/renew`)), 'active again');
  const part = await post(`${url}/release`, pages(0, 1));
  noteNew(tagOf(part), 'a part is released');
  t.equal(await tagNow(), tagOf(part));
  t.equal(tagOf(await post(`${url}/release`, pages(0, 1))), tagOf(part), 'nothing of it was left');
  const revoked = await post(`${url}/revoke`, { reason: 'gone' });
  t.equal(revoked.json().state, 'quarantined');
  noteNew(tagOf(revoked), 'quarantined');
  const released = await post(`${url}/release`);
  noteNew(tagOf(released), 'released');
  t.equal(await tagNow(), tagOf(released), 'as it is remembered');
  t.equal((await remove(url)).statusCode, 204);
  t.equal(await tagNow(), tagOf(released));
  t.equal((await get('/v1/leases')).headers.etag, undefined, 'a list has none');
});

t.test('ETag: a request that is sent again shows that of the lease as it is now', async (t) => {
  const { post, get } = await setUp(t);
  const key = { 'idempotency-key': 'one' };
  const { id } = (await post('/v1/leases', ASKED, key)).json();
  await post(`/v1/leases/${id}/release`, pages(0, 1));
  const again = await post('/v1/leases', ASKED, key);
  t.equal(again.statusCode, 201);
  t.equal(tagOf(again), tagOf(await get(`/v1/leases/${id}`)));
});

t.test('If-Match: with another tag nothing is changed', async (t) => {
  const { get, post, remove, url, tag, lent } = await setUp(t);
  const before = (await post(`${url}/release`, pages(0, 1), { 'if-match': tag })).json();
  t.equal(before.pages, 3);
  lent.clock.advance(1_000);
  const commits = lent.store.commits.length;
  for (const stale of [tag, `W/${tag}`, 'toy.2', '', '"other.2"', '"toy.released"', '"a", "b"']) {
    const headers = { 'if-match': stale };
    for (const refused of [
      await post(`${url}/release`, pages(1, 1), headers),
      await post(`${url}/release`, {}, headers),
      await remove(url, headers),
      await post(`${url}/renew`, {}, headers),
      await post(`${url}/revoke`, { reason: 'why' }, headers),
    ]) {
      t.match(refused.json(), STALE, stale);
      t.equal(refused.statusCode, 412);
    }
  }
  const after = await get(url);
  t.strictSame(after.json(), { ...before, remaining_ttl_ms: 9_000 });
  t.equal(lent.store.commits.length, commits);
  t.equal(lent.pinnedPages(), 3);
});

t.test('If-Match: with its tag, with one of several, with any', async (t) => {
  const { post, remove, url, tag, tagNow, lent } = await setUp(t);
  lent.clock.advance(1_000);
  const renewed = await post(`${url}/renew`, {}, { 'if-match': `"x", ${tag}` });
  t.equal(renewed.json().remaining_ttl_ms, 10_000);
  t.equal((await post(`${url}/release`, pages(0, 1), { 'if-match': '*' })).statusCode, 200);
  const revoked = await post(`${url}/revoke`, { reason: 'x' }, { 'if-match': await tagNow() });
  t.equal(revoked.json().state, 'quarantined');
  t.equal((await remove(url, { 'if-match': tagOf(revoked) })).statusCode, 204);
  t.equal(lent.pinnedPages(), 0);
});

t.test('If-Match: of two releases that race one passes', async (t) => {
  const { post, url, tag, lent } = await setUp(t);
  const gate = new EventEmitter();
  lent.store.gate = once(gate, 'open');
  const headers = { 'if-match': tag };
  const both = Promise.all([
    post(`${url}/release`, pages(0, 1), headers),
    post(`${url}/release`, pages(2, 1), headers),
  ]);
  await turns();
  t.equal(lent.pinnedPages(), 4, 'neither is durable');
  gate.emit('open');
  const answers = await both;
  t.strictSame(
    answers.map(({ statusCode }) => statusCode).toSorted((a, b) => a - b),
    [200, 412],
  );
  t.equal(lent.pinnedPages(), 3);
});

t.test('If-Match: a revocation behind a release does not pass', async (t) => {
  const { post, url, tag, lent } = await setUp(t);
  const gate = new EventEmitter();
  lent.store.gate = once(gate, 'open');
  const headers = { 'if-match': tag };
  const released = post(`${url}/release`, pages(0, 1), headers);
  await turns();
  const revoked = post(`${url}/revoke`, { reason: 'x' }, headers);
  await turns();
  gate.emit('open');
  t.equal((await released).statusCode, 200);
  t.match((await revoked).json(), STALE);
  t.equal(lent.leases.list({}).leases[0]?.state, 'active');
});

t.test('If-Match: a lease that has ended', async (t) => {
  const { get, post, remove, url, tag } = await setUp(t);
  const headers = { 'if-match': tag };
  t.equal((await remove(url, headers)).statusCode, 204);
  t.equal((await remove(url, headers)).statusCode, 204, 'its answer may have been lost');
  const released = await post(`${url}/release`, {}, headers);
  t.match(released.json(), { state: 'released', pages: 0 });
  t.equal((await post(`${url}/release`, pages(0, 1), headers)).statusCode, 200);
  t.equal((await post(`${url}/renew`, {}, headers)).json().code, 'ENOENT', 'no renewal would do');
  t.match((await post(`${url}/revoke`, { reason: 'x' }, headers)).json(), STALE);
  t.equal(tagOf(await get(url)), tagOf(released));
});

t.test('If-None-Match: 304 while nothing but time has passed', async (t) => {
  const { get, post, url, tag, lent } = await setUp(t);
  lent.clock.advance(1_000);
  for (const known of [tag, `W/${tag}`, `"x", ${tag}`, '*']) {
    const same = await get(url, { 'if-none-match': known });
    t.equal(same.statusCode, 304, known);
    t.equal(same.headers['content-length'], undefined, 'not that of a null');
    t.equal(same.body, '');
    t.equal(tagOf(same), tag);
  }
  t.equal((await get('/v1/leases/none', { 'if-none-match': '*' })).statusCode, 404);
  await post(`${url}/release`, pages(0, 1));
  const changed = await get(url, { 'if-none-match': tag });
  t.equal(changed.statusCode, 200);
  t.equal(changed.json().pages, 3);
});

t.test('recalls: in the tag that If-None-Match compares, not for If-Match', async (t) => {
  const set = await setUp(t);
  const { get, post, url, tag } = set;
  const known = { 'if-none-match': tag };
  const giveUp = startTruncate(set, 3 * P);
  const recalled = await get(url, known);
  t.equal(recalled.statusCode, 200);
  t.match(recalled.json(), { state: 'recalling', recalls: [{ op: 'truncate' }] });
  t.not(tagOf(recalled), tag);
  const knownNow = { 'if-none-match': tagOf(recalled) };
  t.equal((await get(url, knownNow)).statusCode, 304);
  const acknowledge = async (match: string) =>
    post(`${url}/acknowledge`, { estimate_ms: 5 }, { 'if-match': match });
  t.equal((await acknowledge('"another"')).statusCode, 412);
  t.equal(tagOf(await acknowledge(tag)), tagOf(recalled));

  const giveUpToo = startTruncate(set);
  const twice = await get(url, knownNow);
  t.equal(twice.json().recalls.length, 2);
  t.equal((await post(`${url}/renew`, {}, { 'if-match': tagOf(recalled) })).statusCode, 200);
  const part = await post(`${url}/release`, pages(3, 1), { 'if-match': tag });
  t.equal(part.statusCode, 200, 'that it is asked for changes no lease');
  t.equal((await post(`${url}/release`, {}, { 'if-match': tagOf(twice) })).statusCode, 412);
  await giveUp(t);
  await giveUpToo(t);
  const after = await get(url, { 'if-none-match': tagOf(part) });
  t.equal(after.statusCode, 200, 'nothing waits any more');
  t.strictSame(after.json().recalls, []);
  t.equal((await post(`${url}/release`, {}, { 'if-match': tagOf(part) })).statusCode, 200);
});

t.test('openapi: says which answers have a tag, and which calls look at one', async (t) => {
  const { get } = await setUp(t);
  const { paths } = (await get('/openapi.json')).json();
  const lease = paths['/v1/leases/{id}'];
  for (const [operation, status] of [
    [paths['/v1/leases'].post, 201],
    [lease.get, 200],
    [paths['/v1/leases/{id}/renew'].post, 200],
    [paths['/v1/leases/{id}/release'].post, 200],
    [paths['/v1/leases/{id}/acknowledge'].post, 200],
    [paths['/v1/leases/{id}/revoke'].post, 200],
  ]) {
    const { headers, content } = operation.responses[status];
    t.match(headers.ETag, { schema: { type: 'string' } }, operation.operationId);
    t.notOk('headers' in content['application/json'].schema);
  }
  t.match(lease.delete.parameters, [{ in: 'path' }, { in: 'header', name: 'if-match' }]);
  t.ok(lease.get.responses[304]);
});
