import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { debugfs, fsckMounted } from '../support/ext4-image.js';
import { bytesAt } from '../support/bytes-at.js';
import { requires } from '../support/requires.js';
import { curl, post, runVerb, startDaxd, startRefused, until } from './daxd.js';
import type { Daxd } from './daxd.js';
import { judge, leaseHalf } from './half-leased.js';

const P = 4096;
const JUDGES = { commands: ['curl', 'e2fsck', 'debugfs'] };

/** A daemon, and a file of sixteen pages of which a client has the second half. */
async function setUp(t: Test, lease: object = {}) {
  const directory = t.testdir({});
  const image = join(directory, 'pmem0.img');
  const daxd = await startDaxd(t, ['--backing', image, '--size', '64M', '--init']);
  const half = await leaseHalf(t, daxd, { client: 'nic0', ...lease });
  return { directory, image, daxd, ...half };
}

function change({ url }: Daxd, op: string, asked: object) {
  const body = { path: 'a', on_conflict: 'defer', ...asked };
  return curl(...post(`${url}/v1/partitions/pmem0p1/${op}`, body));
}

/** How full the quarantine is, as Prometheus and the filesystem's sizes show it. */
async function fullness({ url }: Daxd) {
  const page = (await curl(`${url}/metrics`)).body;
  const [, leased, unknown] =
    /^daxd_quarantine_bytes\{partition="pmem0p1",owner="lease"\} (\d+)\n.*owner="unknown"\} (\d+)$/m.exec(
      page,
    ) ?? [];
  const [, limit] = /^daxd_quarantine_limit_bytes\{partition="pmem0p1"\} (\d+)$/m.exec(page) ?? [];
  const sizes = (await curl(`${url}/v1/partitions/pmem0p1/statfs`)).json;
  const metrics = { leased: Number(leased), unknown: Number(unknown), limit: Number(limit) };
  const { quarantined_bytes: bytes, quarantine_limit_bytes: limitBytes } = sizes;
  return { ...metrics, bytes, limitBytes };
}

async function quarantineOf({ url }: Daxd) {
  return (await curl(`${url}/v1/quarantine`)).json.quarantine;
}

t.test(
  'defer: the truncate goes on, and the holder keeps its bytes until it releases',
  async (t) => {
    if (!requires(t, JUDGES)) return;
    const { image, daxd, lease, place } = await setUp(t);
    const done = await change(daxd, 'truncate', { size: 100 });
    t.match(done, { status: 200, json: { size: 100, quarantined_bytes: 8 * P } });
    const [{ device_offset: at }] = lease.extents;
    t.ok(bytesAt(image, at, 8 * P).equals(Buffer.alloc(8 * P, 0x41)), 'not a byte changed');
    const limit = Math.floor(place[1] / 10 / P) * P;
    const full = { leased: 8 * P, unknown: 0, limit, bytes: 8 * P, limitBytes: limit };
    t.strictSame(await fullness(daxd), full, 'a tenth of the partition may be');
    t.match(await quarantineOf(daxd), [
      {
        id: lease.id,
        partition: 'pmem0p1',
        path: 'a',
        client: 'nic0',
        reason: /truncate .* went on/,
      },
    ]);
    const renewed = await curl(...post(`${daxd.url}/v1/leases/${lease.id}/renew`));
    t.match(renewed, {
      status: 410,
      json: { code: 'lease-revoked', detail: /went on without it/ },
    });
    t.match((await curl(`${daxd.url}/v1/leases/${lease.id}`)).json, {
      state: 'quarantined',
      extents: lease.extents,
    });
    t.equal((await curl(`${daxd.url}/readyz`)).status, 200, 'it is what was asked for');

    const part = judge(t, image, place, fsckMounted);
    const block = (at - place[0]) / P;
    const [, inode = ''] = /^\d+\t(\d+)$/m.exec(debugfs(part, `icheck ${block}`)) ?? [];
    t.not(inode, '', 'an inode has the block');
    t.match(debugfs(part, `ncheck ${inode}`), /\.daxd-quarantine/);
    const write = Buffer.from('the device still writes');
    const fd = openSync(image, 'r+');
    writeSync(fd, write, 0, write.length, at);
    closeSync(fd);
    const url = `${daxd.url}/v1/partitions/pmem0p1/files/a`;
    t.equal(execFileSync('curl', ['-s', url]).length, 100, 'and nobody reads it');

    const { free_bytes: before } = (await curl(`${daxd.url}/v1/partitions`)).json[0].filesystem;
    t.equal((await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${lease.id}`)).status, 204);
    const { free_bytes: after } = (await curl(`${daxd.url}/v1/partitions`)).json[0].filesystem;
    t.ok(after >= before + 8 * P, 'the blocks are free');
    t.ok(bytesAt(image, at, 8 * P).equals(Buffer.alloc(8 * P)), 'and zeroed');
    t.strictSame(await quarantineOf(daxd), []);
    t.match(await fullness(daxd), { leased: 0, unknown: 0, bytes: 0 });
    t.equal(await daxd.stop(), 0);
    judge(t, image, place);
  },
);

t.test('defer: over kill -9, the quarantine and its lease are there', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, daxd, lease, place } = await setUp(t);
  t.match(await change(daxd, 'punch-hole', { offset: 10 * P, length: 2 * P }), {
    json: { quarantined_bytes: 2 * P },
  });
  await daxd.stop('SIGKILL');
  const next = await startDaxd(t, ['--backing', image]);
  t.match((await curl(`${next.url}/v1/leases/${lease.id}`)).json, {
    state: 'quarantined',
    pages: 8,
    extents: lease.extents,
  });
  const [partition] = (await curl(`${next.url}/v1/partitions`)).json;
  t.match(partition.filesystem, { mounted: true, read_only: false });
  const released = await curl(
    ...post(`${next.url}/v1/leases/${lease.id}/release`, {
      ranges: [{ offset: 10 * P, length: 2 * P }],
    }),
  );
  t.match(released.json, { state: 'quarantined', pages: 6 });
  const [{ device_offset: at }] = lease.extents;
  t.ok(bytesAt(image, at + 2 * P, 2 * P).equals(Buffer.alloc(2 * P)), 'a part is freed, too');
  t.equal((await curl('-X', 'DELETE', `${next.url}/v1/leases/${lease.id}`)).status, 204);
  t.equal(await next.stop(), 0);
  judge(t, image, place);
});

t.test('defer: blocks that no lease speaks for stay, until somebody attests', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, daxd, place } = await setUp(t);
  await change(daxd, 'truncate', { size: 0 });
  await daxd.stop('SIGKILL');
  const other = startRefused(['--backing', image, '--state-dir', join(t.testdirName, 'other')]);
  t.match(other, { exit: 1, stderr: `the leases of ${image} are kept in ${image}.leases` });
  rmSync(`${image}.leases`, { recursive: true });
  const next = await startDaxd(t, ['--backing', image]);
  const [entry] = await quarantineOf(next);
  t.match(entry, { id: /^unknown:pmem0p1:\d+$/, bytes: 8 * P, reason: /unknown/ });
  t.match(await fullness(next), { leased: 0, unknown: 8 * P, bytes: 8 * P });
  const unmount = await curl(...post(`${next.url}/v1/partitions/pmem0p1/unmount`));
  t.match(unmount.json, { status: 409, detail: /in quarantine, and nobody knows for whom/ });
  const listed = runVerb(next.url, ['quarantine', 'list', '--json']);
  t.match(JSON.parse(listed.stdout), [{ id: entry.id }]);
  t.equal(runVerb(next.url, ['quarantine', 'attest', entry.id]).exit, 2, 'without a reason');
  const attest = runVerb(next.url, ['quarantine', 'attest', entry.id, '--reason', 'power was cut']);
  t.equal(attest.exit, 0, attest.stdout + attest.stderr);
  t.strictSame(await quarantineOf(next), []);
  t.ok(next.stderr.some((line) => line.includes('power was cut')));
  t.equal(runVerb(next.url, ['quarantine', 'attest', entry.id, '--reason', 'again']).exit, 1);
  t.equal(await next.stop(), 0);
  judge(t, image, place);
});

t.test('defer: a stopped holder finds its bytes, and is told by its next renew', async (t) => {
  if (!requires(t, JUDGES)) return;
  const child = spawn('sleep', ['1000']);
  t.teardown(() => child.kill('SIGKILL'));
  await once(child, 'spawn');
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8');
  const pidStart = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[22 - 3]);
  const { daxd, lease, image } = await setUp(t, {
    pid: child.pid,
    pid_start: pidStart,
    ttl_ms: 1000,
  });
  child.kill('SIGSTOP');
  await until(
    async () => (await curl(`${daxd.url}/v1/leases/${lease.id}`)).json.state,
    (state) => state === 'suspect',
  );
  t.equal((await change(daxd, 'truncate', { size: 0 })).status, 200);
  child.kill('SIGCONT');
  const [{ device_offset: at }] = lease.extents;
  t.ok(bytesAt(image, at, 8 * P).equals(Buffer.alloc(8 * P, 0x41)));
  const renewed = await curl(...post(`${daxd.url}/v1/leases/${lease.id}/renew`));
  t.equal(renewed.json.code, 'lease-revoked');
  child.kill('SIGKILL');
  await until(
    () => quarantineOf(daxd),
    (entries) => entries.length === 0,
  );
  t.ok(bytesAt(image, at, 8 * P).equals(Buffer.alloc(8 * P)), 'its end is proof');
});

t.test('defer: two leases of one page; the last one frees it', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { daxd, lease, image } = await setUp(t);
  const asked = { partition: 'pmem0p1', path: 'a', offset: 12 * P, length: P, access: 'read' };
  const second = await curl(...post(`${daxd.url}/v1/leases`, { ...asked, ttl_ms: 60_000 }));
  await change(daxd, 'truncate', { size: 0 });
  t.equal((await quarantineOf(daxd)).length, 2);
  await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${lease.id}`);
  const [{ device_offset: at }] = second.json.extents;
  t.ok(bytesAt(image, at, P).equals(Buffer.alloc(P, 0x41)), 'pinned by the other one');
  await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${second.json.id}`);
  t.ok(bytesAt(image, at, P).equals(Buffer.alloc(P)));
  t.strictSame(await quarantineOf(daxd), []);
  t.equal(await daxd.stop(), 0);
});
