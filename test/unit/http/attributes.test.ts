import t from 'tap';

import { nsFromTimestamp, timestampFromNs } from '../../../src/http/timestamp.js';
import { setUpHttp } from './set-up.js';

const STAT = '/v1/partitions/pmem0p1/stat';
const XATTRS = '/v1/partitions/pmem0p1/xattrs';

t.test('stat: PATCH sets what it names and answers as GET does', async (t) => {
  const { get, patch, control } = await setUpHttp(t);
  const inode = control.fs.put('a', 'x');
  const times = { atime: '2446-05-10T22:38:54.999999999Z', mtime: '1969-12-31T23:59:59.5Z' };
  const reply = await patch(`${STAT}/a`, { mode: 0o640, uid: 4_294_967_294, ...times });
  t.equal(reply.statusCode, 200);
  t.match(reply.json(), {
    inode,
    uid: 4_294_967_294,
    gid: 0,
    atime: times.atime,
    mtime: '1969-12-31T23:59:59.500000000Z',
  });
  t.strictSame(reply.json(), (await get(`${STAT}/a`)).json());
  t.strictSame(control.fs.calls, [
    [
      'setAttributes',
      inode,
      {
        mode: 0o640,
        uid: 4_294_967_294,
        gid: undefined,
        atimeNs: 15_032_385_534_999_999_999n,
        mtimeNs: -500_000_000n,
      },
    ],
  ]);
  t.equal(control.fs.followed, false, 'a symlink itself');
  t.equal((await patch(STAT, { gid: 7 })).json().gid, 7, 'the root too');
  control.fs.put('c', '', 'char');
  t.strictSame((await get(`${STAT}/c`)).json().device, { major: 1, minor: 3 });
});

t.test('stat: PATCH refuses what is no attribute', async (t) => {
  const { patch, control } = await setUpHttp(t);
  control.fs.put('a', 'x');
  for (const body of [
    {},
    { mode: 0o10000 },
    { mode: '0644' },
    { mode: -1 },
    { uid: 2 ** 32 - 1 },
    { ctime: '2026-01-01T00:00:00Z' },
    { mtime: 5 },
    { mtime: '2026-01-01' },
    { mtime: '2026-02-30T00:00:00Z' },
    { mtime: '2026-01-01T00:00:00+01:00' },
    { mtime: '2026-01-01T00:00:00.1234567890Z' },
    { mtime: '2026-01-01T24:00:00Z' },
  ]) {
    const reply = await patch(`${STAT}/a`, body);
    t.equal(reply.statusCode, 400, JSON.stringify(body));
    t.equal(reply.json().code, 'EINVAL');
  }
  t.strictSame(control.fs.calls, []);
  t.equal((await patch(`${STAT}/none`, { mode: 0 })).statusCode, 404);
  control.draining = true;
  t.equal((await patch(`${STAT}/a`, { mode: 0 })).json().code, 'draining');
});

t.test('nsFromTimestamp: reads what timestampFromNs writes', async (t) => {
  for (const ns of [0n, -1n, 1n, 1_700_000_000_123_456_789n, -2_147_483_648_000_000_000n]) {
    t.equal(nsFromTimestamp(timestampFromNs(ns)), ns);
  }
});

t.test('xattrs: set, listed, read by name, removed', async (t) => {
  const { get, put, remove, control } = await setUpHttp(t);
  control.fs.put('a', 'x');
  const json = { 'content-type': 'application/json' };
  const set = (query: string, body: object) =>
    put(`${XATTRS}/a?${query}`, JSON.stringify(body), json);
  const value = Buffer.from([0, 255, 1]).toString('base64');
  t.equal((await set('name=user.a', { value_base64: value })).statusCode, 204);
  t.equal((await set('name=user.%C3%BC', { value_base64: '' })).statusCode, 204);
  const all = [
    { name: 'user.a', value_base64: value },
    { name: 'user.ü', value_base64: '' },
  ];
  t.strictSame((await get(`${XATTRS}/a`)).json(), { xattrs: all });
  t.strictSame((await get(`${XATTRS}/a?name=user.a`)).json(), { xattrs: all.slice(0, 1) });
  t.equal((await set('name=user.a', { value_base64: '', only: 'create' })).json().code, 'EEXIST');
  const missing = await set('name=user.b', { value_base64: '', only: 'replace' });
  t.equal(missing.statusCode, 404);
  t.equal(missing.json().code, 'ENODATA');
  t.equal((await remove(`${XATTRS}/a?name=user.a`)).statusCode, 204);
  t.equal((await remove(`${XATTRS}/a?name=user.a`)).json().code, 'ENODATA');
  t.equal((await get(`${XATTRS}/a?name=user.a`)).json().code, 'ENODATA');
  t.strictSame((await get(XATTRS)).json(), { xattrs: [] }, 'of the root');

  t.equal(control.fs.followed, true);
  t.equal((await get(`${XATTRS}/a?follow=false`)).statusCode, 200);
  t.equal(control.fs.followed, false);
});

t.test('xattrs: what is no name, value or query is refused', async (t) => {
  const { get, put, remove, control } = await setUpHttp(t);
  control.fs.put('a', 'x');
  const json = { 'content-type': 'application/json' };
  for (const [query, body] of [
    ['', { value_base64: '' }],
    ['?name=user.a', {}],
    ['?name=user.a', { value_base64: 'eA' }],
    ['?name=user.a', { value_base64: 'eA==\n' }],
    ['?name=user.a', { value_base64: '****' }],
    ['?name=user.a', { value_base64: '', only: 'new' }],
    ['?name=user.a&follow=1', { value_base64: '' }],
    [`?name=user.${'n'.repeat(251)}`, { value_base64: '' }],
  ] as const) {
    const reply = await put(`${XATTRS}/a${query}`, JSON.stringify(body), json);
    t.equal(reply.statusCode, 400, `${query} ${JSON.stringify(body)}`);
  }
  t.equal((await remove(`${XATTRS}/a`)).statusCode, 400);
  t.equal((await get(`${XATTRS}/a?follow=no`)).statusCode, 400);
  t.equal((await get(`${XATTRS}/none`)).statusCode, 404);
  t.strictSame((await get(`${XATTRS}/a`)).json(), { xattrs: [] });
});
