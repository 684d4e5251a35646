import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { TestCgroup, kill, mountCgroup2 } from '../support/cgroup2.js';
import { requires } from '../support/requires.js';
import { temporaryDirectory } from '../support/scratch-directory.js';
import { curl, post, runVerb, startCurl, startDaxd, until } from './daxd.js';
import type { Daxd } from './daxd.js';

const LEASE = { partition: 'pmem0p1', path: 'a', offset: 0, length: 1, access: 'write' };

async function viewOf({ url }: Daxd, id: string) {
  return (await curl(`${url}/v1/leases/${id}`)).json;
}

async function untilEnded(daxd: Daxd, id: string) {
  const view = await until(
    async () => {
      await sleep(50);
      return viewOf(daxd, id);
    },
    ({ state }) => state !== 'active' && state !== 'reclaimable',
  );
  return { state: view.state, ended: view.ended };
}

/** Settles when daxd has looked for all holders: it has seen that another one is gone. */
async function looked(t: Test, daxd: Daxd, point: string): Promise<void> {
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
  await curl('-X', 'PUT', '--data-binary', 'hello', `${p1}/files/witness`);
  const cgroup = TestCgroup.make(t, point, `/daxd-test-${process.pid}-witness`);
  await cgroup.start();
  const asked = { ...LEASE, path: 'witness', cgroup: cgroup.path, ttl_ms: 600_000 };
  const { id } = (await curl(...post(`${daxd.url}/v1/leases`, asked))).json;
  await cgroup.remove();
  t.match(await untilEnded(daxd, id), { ended: 'cgroup empty' });
}

t.test('cgroup: the end of its last process ends the lease, and what waits goes on', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const point = mountCgroup2(t);
  if (point === undefined) return;
  const cgroup = TestCgroup.make(t, point);
  const args = ['--backing', join(temporaryDirectory(t), 'pmem0.img')];
  const daxd = await startDaxd(t, [...args, '--size', '64M', '--init']);
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
  await curl('-X', 'PUT', '--data-binary', 'hello world', `${p1}/files/a`);
  const acquire = ['lease', 'acquire', '--path', 'a', '--cgroup', cgroup.path];
  const early = runVerb(daxd.url, acquire);
  t.equal(early.exit, 1);
  t.match(early.stderr, /ESRCH.*is empty/);

  const one = await cgroup.start();
  const two = await cgroup.start();
  const acquired = runVerb(daxd.url, [...acquire, '--json']);
  t.equal(acquired.exit, 0, acquired.stderr);
  const lease = JSON.parse(acquired.stdout);
  t.match(lease, { state: 'active', cgroup: cgroup.path });
  const truncate = startCurl(post(`${p1}/truncate`, { path: 'a', size: 0 }));
  await until(
    () => viewOf(daxd, lease.id),
    ({ state }) => state === 'recalling',
  );
  await kill(one);
  await looked(t, daxd, point);
  t.match(await viewOf(daxd, lease.id), { state: 'recalling' }, 'one is left');
  await kill(two);
  t.equal((await truncate.answer).status, 200);
  t.match(await viewOf(daxd, lease.id), { state: 'released', ended: 'cgroup empty' });
  t.equal(await daxd.stop(), 0);
});

t.test(
  'cgroup: it is the same after a restart, and another one under its path is not',
  async (t) => {
    if (!requires(t, { commands: ['curl'] })) return;
    const point = mountCgroup2(t);
    if (point === undefined) return;
    const args = ['--backing', join(temporaryDirectory(t), 'pmem0.img')];
    const first = await startDaxd(t, [...args, '--size', '64M', '--init']);
    await curl('-X', 'PUT', '--data-binary', 'hello', `${first.url}/v1/partitions/pmem0p1/files/a`);
    const paths = ['kept', 'ended', 'again'].map((name) => `/daxd-test-${process.pid}-${name}`);
    const cgroups = paths.map((path) => TestCgroup.make(t, point, path));
    const ids: string[] = [];
    const processes = await Promise.all(cgroups.map((cgroup) => cgroup.start()));
    for (const cgroup of paths) {
      const granted = await curl(
        ...post(`${first.url}/v1/leases`, { ...LEASE, cgroup, ttl_ms: 600_000 }),
      );
      t.equal(granted.status, 201);
      ids.push(granted.json.id);
    }
    const [kept = '', ended = '', again = ''] = ids;
    const [keeper, , replaced] = cgroups;
    await first.stop('SIGKILL');
    if (processes[1] !== undefined) await kill(processes[1]);
    await replaced?.remove();
    await TestCgroup.make(t, point, paths[2]).start();

    const next = await startDaxd(t, args);
    const empty = { state: 'released', ended: 'cgroup empty' };
    t.strictSame(await untilEnded(next, ended), empty, 'it ended meanwhile');
    t.strictSame(await untilEnded(next, again), empty, 'it is another one now');
    t.match(await viewOf(next, kept), { state: 'reclaimable', cgroup: paths[0] });
    t.equal((await curl(...post(`${next.url}/v1/leases/${kept}/renew`))).json.state, 'active');
    await looked(t, next, point);
    t.match(await viewOf(next, kept), { state: 'active' });
    await keeper?.remove();
    t.strictSame(await untilEnded(next, kept), empty);
    t.equal(await next.stop(), 0);
  },
);

t.test('cgroup: what cannot hold a lease is refused', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const point = mountCgroup2(t);
  if (point === undefined) return;
  const args = ['--backing', join(temporaryDirectory(t), 'pmem0.img')];
  const daxd = await startDaxd(t, [...args, '--size', '64M', '--init']);
  await curl('-X', 'PUT', '--data-binary', 'hello', `${daxd.url}/v1/partitions/pmem0p1/files/a`);
  const cgroup = TestCgroup.make(t, point);
  const inner = TestCgroup.make(t, point, `${cgroup.path}/inner`);
  inner.makeThreaded();
  for (const [holder, status, code] of [
    [{ cgroup: cgroup.path }, 422, 'ESRCH'],
    [{ cgroup: `${cgroup.path}/none` }, 422, 'ESRCH'],
    [{ cgroup: `${cgroup.path}/cgroup.procs` }, 422, 'ESRCH'],
    [{ cgroup: '/' }, 422, 'ESRCH'],
    [{ cgroup: inner.path }, 400, 'EINVAL'],
    [{ cgroup: `${cgroup.path}/../${cgroup.path}` }, 400, 'EINVAL'],
    [{ cgroup: cgroup.path.slice(1) }, 400, 'EINVAL'],
    [{ cgroup: cgroup.path, pid: 1, pid_start: 1 }, 400, 'EINVAL'],
  ] as const) {
    const asked = { ...LEASE, ttl_ms: 60_000, ...holder };
    const refused = await curl(...post(`${daxd.url}/v1/leases`, asked));
    t.equal(refused.status, status, JSON.stringify(holder));
    t.equal(refused.json.code, code, refused.json.detail);
  }
  t.equal(await daxd.stop(), 0);
});
