import t from 'tap';

import { setUpHttp } from './set-up.js';

const TRUNCATE = '/v1/partitions/pmem0p1/truncate';

t.test(
  'bodies: what the schema does not say is refused, nothing is dropped or converted',
  async (t) => {
    const { post, control } = await setUpHttp(t);
    control.fs.put('a', 'x');
    const good = { path: 'a', size: 0 };
    for (const body of [
      { ...good, on_conflict: 'seize' },
      { ...good, on_conflict: 'fail', deadline_ms: 5 },
      { ...good, deadline_ms: 0 },
      { ...good, deadline_ms: '5' },
      { ...good, size: '0' },
      { ...good, size: -1 },
      { ...good, size: 0.5 },
      { ...good, size: 2 ** 53 },
      { ...good, path: 7 },
      { ...good, path: '' },
      { size: 0 },
      { path: 'a' },
      [],
      'null',
      '7',
      '"text"',
    ]) {
      const reply = await post(TRUNCATE, body);
      t.equal(reply.statusCode, 400, JSON.stringify(body));
      t.equal(reply.json().code, 'EINVAL');
    }
    t.strictSame(control.fs.calls, [], 'the filesystem was not asked');

    t.equal((await post(TRUNCATE, good)).statusCode, 200);
    t.equal((await post(TRUNCATE, { ...good, size: 2 ** 53 - 1 })).statusCode, 200);
    t.strictSame(
      control.fs.calls.map(([, , size]) => size),
      [0, 2 ** 53 - 1],
    );
  },
);

t.test('bodies: the refusal names the member and the value', async (t) => {
  const { post } = await setUpHttp(t);
  const detail = async (body: object): Promise<string> =>
    (await post(TRUNCATE, body)).json().detail;
  t.equal(await detail({ path: 'a', size: '12' }), 'body.size must be integer, not "12"');
  t.equal(
    await detail({ path: 'a', size: 1, on_conflict: 'retry' }),
    'body.on_conflict must be one of "wait", "fail", "defer", "revoke", not "retry"',
  );
  t.equal(await detail({ path: 'a', size: 1, no: 1 }), 'body has an unknown member "no"');
  t.equal(await detail({}), "body must have required property 'path'");
});

t.test('bodies: not JSON, too large, or of another type', async (t) => {
  const { post } = await setUpHttp(t);
  t.equal((await post(TRUNCATE, '{"path":')).statusCode, 400);
  t.equal((await post(TRUNCATE, '{"path":"a","size":0,"__proto__":{}}')).statusCode, 400);
  t.equal((await post(TRUNCATE)).statusCode, 400);
  t.equal((await post(TRUNCATE, '')).json().detail, "body must have required property 'path'");

  const large = await post(TRUNCATE, `{"path":"${'a'.repeat(65536)}","size":0}`);
  t.equal(large.statusCode, 413);
  t.equal(large.json().code, 'EFBIG');

  const text = await post(TRUNCATE, '{"path":"a","size":0}', { 'content-type': 'text/plain' });
  t.equal(text.statusCode, 415);
  t.match(text.json(), { code: 'EINVAL', detail: /JSON is application.json/ });
});

t.test('queries: integers in plain decimal only, unknown members refused', async (t) => {
  const { get, control } = await setUpHttp(t);
  const operation = '/v1/operations/01J';
  t.equal((await get(`${operation}?wait_ms=600000`)).statusCode, 200);
  t.strictSame(control.calls.at(-1), ['operation', '01J', 600000]);
  t.equal((await get(operation)).statusCode, 200);
  t.strictSame(control.calls.at(-1), ['operation', '01J', 0]);
  for (const query of ['wait_ms=1e3', 'wait_ms=0x10', 'wait_ms=', 'wait_ms=+1', 'wait_ms=01']) {
    t.equal((await get(`${operation}?${query}`)).statusCode, 400, query);
  }
  for (const query of ['wait_ms=600001', 'wait_ms=1&wait_ms=2', 'wait_ms=-1', 'x=1']) {
    t.equal((await get(`${operation}?${query}`)).statusCode, 400, query);
  }
  t.equal((await get('/v1/device?x=1')).statusCode, 400, 'also where no query is declared');
  t.equal((await get('/v1/device')).statusCode, 200);
});

t.test('partitions: each call reaches the daemon with what was asked', async (t) => {
  const { get, post, remove, control } = await setUpHttp(t);
  t.equal((await get('/v1/partitions')).json()[0].name, 'pmem0p1');
  t.equal((await post('/v1/partitions', { label: 'new', size: 8192 })).statusCode, 201);
  t.equal((await remove('/v1/partitions/pmem0p2')).statusCode, 204);
  t.equal((await remove('/v1/partitions/pmem0p2?disconnect=true')).statusCode, 204);
  t.equal((await post('/v1/partitions/pmem0p1/mount')).statusCode, 200, 'without a body');
  t.equal((await post('/v1/partitions/pmem0p1/mount', { read_only: true })).statusCode, 200);
  t.equal((await post('/v1/partitions/pmem0p1/unmount', {})).statusCode, 200);
  t.strictSame(control.calls, [
    ['add', { label: 'new', sizeBytes: 8192 }],
    ['delete', 'pmem0p2', { disconnect: false }],
    ['delete', 'pmem0p2', { disconnect: true }],
    ['mount', 'pmem0p1', { readOnly: undefined }],
    ['mount', 'pmem0p1', { readOnly: true }],
    ['unmount', 'pmem0p1'],
  ]);
});

t.test('nbd: what block clients can open', async (t) => {
  const { get } = await setUpHttp(t);
  const answer = await get('/v1/nbd');
  t.equal(answer.statusCode, 200);
  t.match(answer.json(), { exports: [{ name: 'pmem0p1', size: 4096, clients: 2 }] });
});

t.test('format: over a known signature only with force', async (t) => {
  const { post, control } = await setUpHttp(t);
  const refused = await post('/v1/partitions/pmem0p1/format', { label: 'x' });
  t.equal(refused.statusCode, 409);
  t.equal(refused.json().code, 'EEXIST');
  t.strictSame(control.calls, []);
  const done = await post('/v1/partitions/pmem0p1/format', { label: 'x', force: true });
  t.equal(done.statusCode, 200);
  t.strictSame(control.calls, [['format', 'pmem0p1', { force: true, label: 'x' }]]);
});

t.test('device: as API.md spells it', async (t) => {
  const { get } = await setUpHttp(t);
  const device = (await get('/v1/device')).json();
  t.equal(device.namespace.data_offset, 6291456);
  t.strictSame(device.attach[1], { step: 'disk', ok: false, errno: 'EIO' });
  t.strictSame(device.pagemap, {
    type: 'fsdax',
    pages: 64000,
    pinned_pages: 0,
    managed_users: 1,
  });
});

t.test('operations: list, one, cancel', async (t) => {
  const { get, remove, control } = await setUpHttp(t);
  const { operations } = (await get('/v1/operations')).json();
  t.strictSame(operations[0].blocked_by, ['01J00000000000000000000002']);
  t.equal(operations[0].end, null);
  const ended = await remove('/v1/operations/01J');
  t.equal(ended.statusCode, 200);
  t.equal(ended.json().state, 'ended');
  t.strictSame(control.calls, [['cancel', '01J']]);
});
