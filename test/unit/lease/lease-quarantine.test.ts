import t from 'tap';

import type { LeaseRecord } from '../../../src/lease/lease-record.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { refusal } from '../../support/refusal.js';
import { settle } from '../../support/settle.js';
import { Gate } from '../base/gate.js';
import { runs, verify } from './restarts.js';
import { FS_START, ask, setUpLeases } from './set-up.js';
import type { LeaseSetUp } from './set-up.js';

const P = PAGE_SIZE;

t.test('verify: a file in other pages puts its leases into quarantine, for good', async (t) => {
  const { disk, start } = runs();
  const first = await start();
  const same = await first.leases.acquire(ask({ length: 2 * P }));
  const moved = await first.leases.acquire(ask({ offset: 3 * P, length: 2 * P }));
  const intact = await start();
  t.equal(await verify(intact), undefined);
  t.equal(intact.leases.get(moved.id).state, 'reclaimable');

  const set = await start('boot-1', 'www-ww');
  t.match(await verify(set), /pages that left their files are pinned by 1 lease, /);
  t.equal(set.leases.get(same.id).state, 'reclaimable');
  t.match(set.leases.get(moved.id).view(), {
    state: 'quarantined',
    pages: 2,
    quarantined: /bytes from 12288 of inode 11 lie elsewhere now/,
  });
  t.equal(set.pinnedPages(), 4, 'its old pages stay pinned');
  t.equal(set.leases.quarantined.size, 1);
  t.throws(() => set.leases.renew(moved.id), refusal('lease-revoked'));

  const back = await start();
  t.equal(await verify(back), undefined, 'also where they lie as before again');
  t.equal(back.leases.get(moved.id).state, 'quarantined');
  t.equal((await back.leases.release(moved.id)).state, 'released');
  t.equal(back.pinnedPages(), 2);
  t.equal(disk.records.size, 1);
});

t.test('verify: a filesystem that may change again goes on where its mount stopped', async (t) => {
  const { disk, start } = runs();
  const first = await start();
  const deferred = await first.leases.acquire(ask());
  const foreign = [
    await first.leases.acquire(ask({ offset: 3 * P })),
    await first.leases.acquire(ask({ offset: 3 * P })),
  ];
  const set = await start('boot-1', 'www-ww');
  const { fs, leases, pinnedPages } = set;
  fs.moveAway('file', 0);
  const { release } = fs.quarantine;
  fs.quarantine.release = async (...place) => {
    if (leases.quarantine.refusal('pmem0p1') !== undefined) throw new DaxdError('EROFS', 'not now');
    await release(...place);
  };
  const pinnedThen: number[] = [];
  const onAllowed = () => {
    t.equal(leases.quarantine.refusal('pmem0p1'), undefined);
    pinnedThen.push(pinnedPages());
  };
  t.match(await verify(set, onAllowed), /pinned by 2 leases, /);
  await leases.release(deferred.id);
  t.equal(fs.kept.length, 1, 'its filesystem does not change yet');
  await leases.release(foreign[0]?.id ?? '');
  t.match(leases.quarantine.refusal('pmem0p1'), /pinned by 1 lease, /);
  t.strictSame(pinnedThen, []);
  await leases.release(foreign[1]?.id ?? '');
  t.strictSame(pinnedThen, [0], 'told once, when nothing is pinned any more');
  t.strictSame(fs.kept, [], 'and what had ended meanwhile is free');
  t.equal(disk.records.size, 0);
  await leases.release((await leases.acquire(ask({ offset: P }))).id);
  t.equal(pinnedThen.length, 1);
});

t.test('verify: what is left of a lease that a crash and somebody else changed', async (t) => {
  const { start } = runs();
  const first = await start();
  const lease = await first.leases.acquire(ask({ length: 4 * P }));
  // The store did not hear of the move of one page, and a kernel moved another one.
  const set = await start('boot-1', 'www-ww');
  set.fs.moveAway('file', 0);
  t.match(await verify(set), /pinned by 1 lease, /);
  t.strictSame(set.leases.quarantine.unknown, []);
  await set.leases.release(lease.id);
  t.match(set.leases.quarantine.unknown, [{ length: P }], 'nobody speaks for it any more');
});

t.test(
  'defer: the lease is in quarantine, durably, and its release frees the blocks',
  async (t) => {
    const { disk, start } = runs();
    const set = await start();
    const { leases, fs } = set;
    const lease = await leases.acquire(ask({ length: 3 * P }));
    const other = await leases.acquire(ask({ offset: 4 * P }));
    const runsMoved = [1, 2].map((page) => fs.moveAway('file', page));
    await leases.quarantine.deferred('pmem0p1', FS_START, {
      change: '01OP',
      op: 'truncate',
      inode: lease.terms.inode ?? 0,
      runs: runsMoved,
    });
    t.match(lease.view(), { state: 'quarantined', quarantined: /truncate 01OP/, pages: 3 });
    t.equal(other.state, 'active', 'its pages did not move');
    t.match(JSON.parse(disk.records.get(lease.id) ?? ''), { quarantined: { cause: 'deferred' } });
    t.strictSame([...leases.quarantined], [lease]);
    await leases.release(lease.id);
    t.strictSame(fs.kept, [], 'freed');
    t.notOk(disk.records.has(lease.id));
    t.equal(set.pinnedPages(), 1);
  },
);

for (const when of ['before the move is known', 'while it is being kept'] as const) {
  t.test(`defer: a lease that ends ${when} leaves no blocks behind`, async (t) => {
    const { disk, start } = runs();
    const { leases, fs, store, pinnedPages } = await start();
    const lease = await leases.acquire(ask({ length: 3 * P }));
    const other = await leases.acquire(ask({ offset: P }));
    const gate = new Gate();
    store.gate = gate.passed;
    const released = leases.release(lease.id);
    if (when === 'before the move is known') {
      gate.open();
      await released;
    }
    const move = { change: '01OP', op: 'truncate', inode: lease.terms.inode ?? 0 };
    const moved = [0, 1, 2].map((page) => fs.moveAway('file', page));
    const deferred = leases.quarantine.deferred('pmem0p1', FS_START, { ...move, runs: moved });
    gate.open();
    await Promise.all([released, deferred]);
    t.equal(lease.state, 'released');
    t.strictSame(fs.kept, [moved[1]], 'but for what another lease still pins');
    t.equal(pinnedPages(), 1);
    await leases.release(other.id);
    t.strictSame(fs.kept, []);
    t.equal(disk.records.size, 0);
  });
}

t.test('defer: a lease that is being revoked keeps to why its pages moved', async (t) => {
  const { disk, start } = runs();
  const { leases, fs, store } = await start();
  const lease = await leases.acquire(ask({ length: P }));
  const gate = new Gate();
  store.gate = gate.passed;
  const revoked = leases.revocation.revoke(lease, 'asked for');
  const move = { change: '01OP', op: 'truncate', inode: lease.terms.inode ?? 0 };
  const moved = [fs.moveAway('file', 0)];
  const deferred = leases.quarantine.deferred('pmem0p1', FS_START, { ...move, runs: moved });
  gate.open();
  await Promise.all([revoked, deferred]);
  const kept: LeaseRecord = JSON.parse(disk.records.get(lease.id) ?? '');
  for (const quarantined of [lease.quarantined, kept.quarantined]) {
    t.match(quarantined, { cause: 'deferred', isRevoked: true });
  }
  await leases.release(lease.id);
  t.strictSame(fs.kept, [], 'so that its end frees them');
});

t.test('defer: what a lease gives back in part is freed, by the next daemon too', async (t) => {
  const { disk, start } = runs();
  const set = await start();
  const { leases, fs, lines } = set;
  const lease = await leases.acquire(ask({ length: 4 * P }));
  const { inode } = fs.fileAt('file');
  const moved = [0, 1, 2].map((page) => fs.moveAway('file', page));
  const move = { change: '01OP', op: 'truncate', inode, runs: moved };
  await leases.quarantine.deferred('pmem0p1', FS_START, move);
  fs.quarantine.release = async () => {
    throw new DaxdError('EIO', 'the media failed');
  };
  t.match(await leases.release(lease.id, [{ offset: 0, length: P }]), { state: 'quarantined' });
  t.match(lease.view(), { pages: 3 });
  t.match(
    lines.filter(({ fields }) => fields['code'] === 'EIO'),
    [{ level: 'warn' }],
  );
  fs.quarantine.release = async () => new Promise(() => {});
  void leases.release(lease.id, [{ offset: P, length: P }]);
  await settle();
  t.equal(disk.records.size, 3, 'two parts beside the lease');
  t.equal(set.pinnedPages(), 2);

  // The process was killed with the second one under way.
  const next = await start();
  for (const page of [0, 1, 2]) next.fs.moveAway('file', page);
  t.equal(next.leases.size, 1);
  t.equal(next.pinnedPages(), 2);
  t.equal(await verify(next), undefined);
  t.strictSame(next.leases.quarantine.unknown, []);
  t.strictSame(next.fs.kept, moved.slice(2), 'freed but for what is pinned');
  t.strictSame([...disk.records.keys()], [lease.id]);
  await next.leases.release(lease.id, [{ offset: 2 * P, length: P }]);
  t.strictSame(next.fs.kept, []);
  t.match(next.leases.get(lease.id).view(), { pages: 1 });
  await next.leases.release(lease.id);
  t.equal(disk.records.size, 0);
});

t.test('defer: a crash before the store heard of it is no change of others', async (t) => {
  const { start } = runs();
  const first = await start();
  const lease = await first.leases.acquire(ask({ length: 2 * P }));
  const next = await start();
  next.fs.moveAway('file', 1);
  t.equal(await verify(next), undefined, 'nobody else gets those blocks');
  t.match(next.leases.get(lease.id).quarantined, { cause: 'deferred' });
  t.strictSame(next.leases.quarantine.unknown, []);
  await next.leases.release(lease.id);
  t.strictSame(next.fs.kept, []);
});

t.test('defer: a crash between the release and the freeing of the blocks', async (t) => {
  const { disk, start } = runs();
  const first = await start();
  const lease = await first.leases.acquire(ask({ length: 2 * P }));
  first.fs.moveAway('file', 1);
  await verify(first);
  const target = first.targets.get('pmem0p1');
  first.targets.delete('pmem0p1');
  await first.leases.release(lease.id);
  t.equal(first.pinnedPages(), 0);
  t.match(JSON.parse(disk.records.get(lease.id) ?? ''), { ended: true });
  t.ok(target);

  const next = await start();
  next.fs.moveAway('file', 1);
  const ended = next.leases.get(lease.id);
  t.match(ended, { state: 'released', quarantined: { cause: 'deferred' } });
  t.equal(next.leases.size, 0, 'it is held no longer');
  t.equal(next.pinnedPages(), 0);
  t.equal(await verify(next), undefined);
  t.strictSame(next.fs.kept, [], 'now they are freed');
  t.equal(disk.records.size, 0);
});

t.test('defer: a reboot of the machine ends a process, and its blocks are freed', async (t) => {
  const { disk, start } = runs();
  const first = await start();
  first.holders.set({ pid: 7, startTicks: 70, view: '' }, 'alive');
  const lease = await first.leases.acquire(ask({ length: 2 * P, pid: 7, pidStart: 70 }));
  first.fs.moveAway('file', 1);
  await verify(first);
  t.match(lease.quarantined, { cause: 'deferred' });
  const next = await start('boot-2');
  next.fs.kept.push(...first.fs.kept);
  t.equal(next.leases.get(lease.id).state, 'released');
  t.equal(await verify(next), undefined);
  t.strictSame(next.leases.quarantine.unknown, []);
  t.strictSame(next.fs.kept, [], 'freed');
  t.notOk(disk.records.has(lease.id));
});

t.test('verify: a file that is free, another one, or no file', async (t) => {
  const { start } = runs();
  const first = await start();
  const lease = await first.leases.acquire(ask());
  const cases: Readonly<Record<string, (set: LeaseSetUp) => void>> = {
    'there is no inode 11': ({ fs }) => {
      fs.unlink('file');
    },
    'inode 11 is another file now': ({ fs }) => {
      fs.reuseInode('file');
    },
  };
  for (const [reason, change] of Object.entries(cases)) {
    const { disk } = first.store;
    const copy = { ...disk, records: new Map(disk.records), deadlines: new Map(disk.deadlines) };
    const set = await setUpLeases({ disk: copy });
    set.fs.create('file', ['ww']);
    await set.leases.restore();
    change(set);
    await verify(set);
    t.equal(set.leases.get(lease.id).quarantined?.reason, reason);
  }
});

t.test('attest: on whose word it ended is remembered, told and logged', async (t) => {
  const { start } = runs();
  const { leases, fs, lines, ring } = await start();
  const lease = await leases.acquire(ask());
  await t.rejects(leases.attest(lease.id, 'no'), refusal('ENOENT'));
  const { inode } = fs.fileAt('file');
  const moved = [fs.moveAway('file', 0)];
  const move = { change: '01OP', op: 'truncate', inode, runs: moved };
  await leases.quarantine.deferred('pmem0p1', FS_START, move);
  const told: unknown[] = [];
  const push = ring.push.bind(ring);
  ring.push = (name, fields) => {
    told.push([name, fields]);
    push(name, fields);
  };
  await leases.attest(lease.id, 'its host was cut off');
  const ended = 'attested: its host was cut off';
  t.match(lease.view(), { state: 'released', ended, pages: 0 });
  t.match(told, [['lease.released', { lease: lease.id, reason: ended }]]);
  t.match(lines.findLast(({ message }) => message === 'lease released')?.fields, { reason: ended });
  t.equal(fs.kept.length, 0);
  await t.rejects(leases.attest(lease.id, 'again'), refusal('ENOENT'));
  const next = await start();
  t.match(next.leases.get(lease.id).view(), { state: 'released', ended });
});
