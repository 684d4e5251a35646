import { setImmediate } from 'node:timers/promises';

import t from 'tap';

import { LEASE_RANGES_MAX } from '../../../src/lease/limits.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { refusal } from '../../support/refusal.js';
import { ask, askRaw, releaseAll, setUpLeases } from './set-up.js';

const P = PAGE_SIZE;

t.test('renew: the ttl starts anew, and a suspect lease is active again', async (t) => {
  const { leases, fs, clock, pinnedPages, lines } = await setUpLeases();
  fs.create('file', ['w']);
  const lease = await leases.acquire(ask({ ttlMs: 1000 }));
  clock.advance(900);
  t.equal(leases.renew(lease.id).view().remaining_ttl_ms, 1000);
  clock.advance(999);
  t.equal(lease.state, 'active');
  clock.advance(1);
  t.equal(lease.state, 'suspect');
  t.match(lines.at(-1), { level: 'warn', fields: { lease: lease.id } });
  t.equal(pinnedPages(), 1, 'a lapsed lease keeps its pins');
  t.strictSame(leases.counters.held, {
    active: { read: 0, write: 0 },
    suspect: { read: 1, write: 0 },
    reclaimable: { read: 0, write: 0 },
    quarantined: { read: 0, write: 0 },
  });
  clock.advance(1_000_000);
  t.match(leases.renew(lease.id).view(), { state: 'active', remaining_ttl_ms: 1000, pages: 1 });
  clock.advance(1000);
  t.equal(leases.get(lease.id).state, 'suspect', 'reading does not renew');
  t.equal((await leases.release(lease.id)).state, 'released');
  t.equal(pinnedPages(), 0);
});

t.test(
  'release: again is the same answer, renew of it is ENOENT, as of an unknown id',
  async (t) => {
    const { leases, fs, clock } = await setUpLeases();
    fs.create('file', ['w']);
    const lease = await leases.acquire(ask());
    clock.advance(5000);
    const released = (await leases.release(lease.id)).view();
    t.match(released, { state: 'released', pages: 0, remaining_ttl_ms: 0 });
    t.strictSame([released.extents, released.ranges], [[], []]);
    t.equal((await leases.release(lease.id)).state, 'released');
    t.equal((await leases.release(lease.id, [{ offset: 0, length: 1 }])).state, 'released');
    t.equal(leases.get(lease.id).state, 'released');
    t.throws(() => leases.renew(lease.id), refusal('ENOENT'));
    for (const call of ['get', 'renew'] as const) {
      t.throws(() => leases[call]('01UNKNOWN'), refusal('ENOENT'), call);
    }
    await t.rejects(leases.release('01UNKNOWN'), refusal('ENOENT'));
    t.strictSame(leases.list({}).leases, [], 'only held leases are listed');
    t.equal(leases.counters.holdSeconds.count, 1);
    t.equal(leases.counters.holdSeconds.sumSeconds, 5);
    t.equal(clock.timers, 0, 'no timer is left behind');
  },
);

t.test('release: in part; a page goes once no byte of the lease is left on it', async (t) => {
  const { leases, fs, pinnedPages } = await setUpLeases();
  fs.create('file', ['wwww']);
  const lease = await leases.acquire(ask({ offset: 10, length: 3 * P }));
  t.equal(pinnedPages(), 4);
  await leases.release(lease.id, [{ offset: 0, length: P - 1 }]);
  t.equal(pinnedPages(), 4, 'byte 4095 is left on page 0');
  const view = (await leases.release(lease.id, [{ offset: 0, length: 2 * P + 1 }])).view();
  t.strictSame(view.ranges, [{ offset: 2 * P + 1, length: P + 9 }]);
  t.equal(view.pages, 2);
  t.equal(pinnedPages(), 2);
  t.strictSame(leases.overlapping('pmem0p1', lease.terms.inode, 0, 2 * P), []);
  t.equal(
    (await leases.release(lease.id, [{ offset: 0, length: P }])).pages,
    2,
    'released already',
  );
  t.equal((await leases.release(lease.id, [{ offset: 50 * P, length: P }])).pages, 2, 'never lent');
  t.equal((await leases.release(lease.id, [])).pages, 2, 'nothing named');
  t.equal((await leases.release(lease.id, [{ offset: 0, length: 9 * P }])).state, 'released');
  t.equal(pinnedPages(), 0);
});

t.test('release: bad ranges change nothing', async (t) => {
  const { leases, fs, pinnedPages } = await setUpLeases();
  fs.create('file', ['www']);
  const lease = await leases.acquire(ask({ length: 3 * P }));
  const one = { offset: 0, length: P };
  await t.rejects(leases.release(lease.id, [one, { offset: -1, length: P }]), refusal('EINVAL'));
  await t.rejects(leases.release(lease.id, [one, { offset: 0, length: 0 }]), refusal('EINVAL'));
  const many = Array.from({ length: LEASE_RANGES_MAX + 1 }, () => one);
  await t.rejects(leases.release(lease.id, many), refusal('EINVAL'));
  t.equal(pinnedPages(), 3);
  const stripes = Array.from({ length: LEASE_RANGES_MAX }, (_, i) => ({
    offset: 1 + 2 * i,
    length: 1,
  }));
  await t.rejects(leases.release(lease.id, stripes), refusal('EINVAL'), 'too many would be left');
  t.strictSame(lease.ranges, [{ offset: 0, length: 3 * P }]);
});

t.test('holder: a lease is granted to a process that daxd sees, and goes with it', async (t) => {
  const { leases, fs, clock, holders, pinnedPages, lines } = await setUpLeases();
  fs.create('file', ['w']);
  const process = { pid: 7, startTicks: 70, view: '' };
  const request = ask({ pid: 7, pidStart: 70, ttlMs: 5000 });
  await t.rejects(leases.acquire(request), refusal('ESRCH'), 'unseen');
  holders.set(process, 'gone');
  await t.rejects(leases.acquire(request), refusal('ESRCH'), 'gone');
  t.equal(leases.size, 0);

  holders.set(process, 'alive');
  const lease = await leases.acquire(request);
  t.match(lease.view(), { pid: 7, pid_start: 70 });
  const asked = await leases.acquire(request);
  await leases.release(asked.id);
  holders.set(process, 'unseen');
  clock.advance(60_000);
  t.equal(lease.state, 'suspect', 'lapsed, but not gone');
  holders.set(process, 'gone');
  clock.advance(1000);
  await setImmediate();
  t.equal(lease.state, 'released');
  t.match(lines.at(-1), { fields: { lease: lease.id, reason: 'process gone' } });
  t.equal(pinnedPages(), 0);
  t.equal(clock.timers, 0, 'nobody is polled for any more');
});

t.test('holder: a cgroup, as the one that it was at the grant', async (t) => {
  const { leases, fs, clock, holders, pinnedPages, lines } = await setUpLeases();
  fs.create('file', ['w']);
  const request = ask({ cgroup: '/one' });
  await t.rejects(leases.acquire(request), refusal('ESRCH'), 'none');
  const cgroup = { cgroup: '/one', inode: 5, rootInode: 1 };
  holders.set(cgroup, 'gone');
  await t.rejects(leases.acquire(request), { ...refusal('ESRCH'), message: /empty/ });
  holders.set(cgroup, 'unseen');
  await t.rejects(leases.acquire(request), { ...refusal('ESRCH'), message: /unseen/ });

  holders.set(cgroup, 'alive');
  const lease = await leases.acquire(request);
  t.match(lease.view(), { cgroup: '/one', pid: undefined, pid_start: undefined });
  holders.set(cgroup, 'gone');
  holders.set({ cgroup: '/one', inode: 6, rootInode: 1 }, 'alive');
  clock.advance(1000);
  await setImmediate();
  t.equal(lease.state, 'released', 'another one has its path');
  t.match(lines.at(-1), { fields: { lease: lease.id, reason: 'cgroup empty' } });
  t.equal(pinnedPages(), 0);

  const late = await leases.acquire(request);
  holders.set({ cgroup: '/one', inode: 6, rootInode: 1 }, 'gone');
  await leases.revocation.revoke(late, 'it is wanted');
  t.match(late.view(), { state: 'released', ended: 'cgroup empty' });
});

t.test('holder: a cgroup that is replaced during the preparation gets no lease', async (t) => {
  const { leases, fs, holders, pinnedPages } = await setUpLeases();
  fs.create('file', ['-']);
  holders.set({ cgroup: '/one', inode: 5, rootInode: 1 }, 'alive');
  fs.afterPrepare = () => {
    holders.set({ cgroup: '/one', inode: 5, rootInode: 1 }, 'gone');
    holders.set({ cgroup: '/one', inode: 6, rootInode: 1 }, 'alive');
  };
  await t.rejects(leases.acquire(ask({ cgroup: '/one', access: 'write' })), refusal('ESRCH'));
  t.equal(pinnedPages(), 0);
});

t.test('holder: where the store fails at its end, its lease ends later', async (t) => {
  const { leases, fs, clock, holders, store, pinnedPages } = await setUpLeases();
  fs.create('file', ['w']);
  const process = { pid: 7, startTicks: 70, view: '' };
  holders.set(process, 'alive');
  const lease = await leases.acquire(ask({ pid: 7, pidStart: 70 }));
  holders.set(process, 'gone');
  store.failure = new DaxdError('EIO', 'the disk is broken');
  clock.advance(1000);
  await setImmediate();
  t.equal(lease.state, 'active');
  t.equal(pinnedPages(), 1);
  store.failure = undefined;
  clock.advance(1000);
  await setImmediate();
  t.equal(lease.state, 'released');
  t.equal(pinnedPages(), 0);
  t.equal(clock.timers, 0);
});

t.test('holder: a process that ends during the preparation gets no lease', async (t) => {
  const { leases, fs, holders, pinnedPages } = await setUpLeases();
  fs.create('file', ['-']);
  const process = { pid: 7, startTicks: 70, view: '' };
  holders.set(process, 'alive');
  fs.afterPrepare = () => {
    holders.set(process, 'gone');
  };
  await t.rejects(leases.acquire(ask({ pid: 7, pidStart: 70, access: 'write' })), refusal('ESRCH'));
  t.equal(pinnedPages(), 0);
});

t.test('drain: no new leases and no renewals, releases go on', async (t) => {
  const { leases, fs, pinnedPages } = await setUpLeases();
  fs.create('file', ['-']);
  const lease = await leases.acquire(ask());
  fs.afterPrepare = () => {
    leases.drain();
  };
  await t.rejects(leases.acquire(ask({ access: 'write' })), refusal('draining'), 'half way');
  await t.rejects(leases.acquire(ask()), refusal('draining'));
  t.throws(() => leases.renew(lease.id), refusal('draining'));
  t.throws(() => leases.renew('01UNKNOWN'), refusal('ENOENT'));
  t.equal((await leases.release(lease.id)).state, 'released');
  t.equal(pinnedPages(), 0);
});

t.test('release: every lease ends, and nothing is left behind', async (t) => {
  const { leases, fs, clock, claims, holders, pinnedPages } = await setUpLeases();
  fs.create('file', ['www']);
  holders.set({ pid: 7, startTicks: 70, view: '' }, 'alive');
  await leases.acquire(ask({ length: 2 * P, pid: 7, pidStart: 70 }));
  await leases.acquire(ask({ length: 3 * P, ttlMs: 1000 }));
  await leases.acquire(askRaw());
  clock.advance(1000);
  t.equal(leases.countOn('pmem0p1'), 2);
  await releaseAll(leases);
  t.equal(leases.size, 0);
  t.equal(leases.countOn('pmem0p1'), 0);
  t.equal(pinnedPages(), 0);
  t.equal(clock.timers, 0);
  t.equal(claims.holder('pmem0p2'), undefined);
  t.strictSame(leases.counters.held, {
    active: { read: 0, write: 0 },
    suspect: { read: 0, write: 0 },
    reclaimable: { read: 0, write: 0 },
    quarantined: { read: 0, write: 0 },
  });
});

t.test('refusals: the log names the code, the file and an id', async (t) => {
  const { leases, lines } = await setUpLeases();
  await t.rejects(leases.acquire(ask()), refusal('ENOENT'));
  t.match(lines, [
    { level: 'info', fields: { lease: /^[0-9A-Z]{26}$/, path: 'file', code: 'ENOENT' } },
  ]);
});
