import t from 'tap';

import { setUpHttp } from './set-up.js';

const TRUNCATE = '/v1/partitions/pmem0p1/truncate';
const JSON_TYPE = { 'content-type': 'application/json' };

t.test('bodies: what is not UTF-8 is refused, and names no other file', async (t) => {
  const { post, control } = await setUpHttp(t);
  control.fs.put('b\uFFFDd', 'precious');
  for (const bytes of ['b\xFFd', 'b\xC3', 'b\xED\xA0\x80d']) {
    const body = Buffer.from(`{"path":"${bytes}","size":0}`, 'latin1');
    const reply = await post(TRUNCATE, body, JSON_TYPE);
    t.match(reply.json(), { status: 400, code: 'EINVAL', detail: 'the body is not UTF-8' });
  }
  t.strictSame(control.fs.calls, []);
  t.equal((await post(TRUNCATE, { path: 'b\uFFFDd', size: 1 })).statusCode, 200);
});

t.test('bodies: half a surrogate pair is refused, a pair is a character', async (t) => {
  const { post, control } = await setUpHttp(t);
  control.fs.put('🙂', 'x');
  control.fs.put('\\ud800', 'x');
  const send = (path: string) => post(TRUNCATE, `{"path":"${path}","size":0}`, JSON_TYPE);
  for (const path of ['\\ud800', 'a\\uDC00', '\\uD83D\\u0041', '\\ude42\\ud83d', '\\\\\\ud800']) {
    const reply = await send(path);
    t.match(reply.json(), { status: 400, detail: /half a surrogate pair/ }, path);
  }
  t.equal((await send('\\ud83d\\ude42')).statusCode, 200);
  t.equal((await send('🙂')).statusCode, 200);
  t.equal((await send('\\\\ud800')).statusCode, 200, 'a backslash is no escape');
});

t.test('queries: what is not percent-encoded UTF-8 is refused', async (t) => {
  const { get } = await setUpHttp(t);
  for (const query of ['path=%ff', 'path=a%2', 'path=%', 'path=a%C3%28', '%ff=1', 'path=a&x=%zz']) {
    const reply = await get(`/v1/leases?${query}`);
    t.match(reply.json(), { status: 400, detail: /the query .* is not percent-encoded UTF-8/ });
  }
  for (const query of ['path=%C3%A4%25', 'path=a+b%20c', 'path=ä'])
    t.equal((await get(`/v1/leases?${encodeURI(decodeURI(query))}`)).statusCode, 200, query);
});

t.test('Expect: 100-continue alone is known', async (t) => {
  const { get } = await setUpHttp(t);
  t.equal((await get('/livez', { expect: '100-Continue' })).statusCode, 200);
  t.match((await get('/livez', { expect: 'foo' })).json(), { status: 417, code: 'EINVAL' });
});
