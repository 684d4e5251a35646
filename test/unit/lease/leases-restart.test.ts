import { EventEmitter, once } from 'node:events';

import t from 'tap';

import { CHECKPOINT_MS, RESTART_GRACE_MS } from '../../../src/lease/limits.js';
import { DaxdError } from '../../../src/lib/errno.js';
import type { ErrorCode } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { emptyDisk } from './memory-store.js';
import type { MemoryDisk, MemoryStore } from './memory-store.js';
import { FS_START, HandClock, ask, askRaw, setUpLeases } from './set-up.js';
import type { LeaseSetUp } from './set-up.js';

const P = PAGE_SIZE;

function refusal(code: ErrorCode): { name: string; code: ErrorCode } {
  return { name: 'DaxdError', code };
}

const other = (name: string, media: object) => (set: LeaseSetUp) => {
  const target = set.targets.get(name);
  if (target !== undefined) Object.assign(target, { media: { ...target.media, ...media } });
};

const verify = async ({ leases, targets }: LeaseSetUp): Promise<string | undefined> => {
  const target = targets.get('pmem0p1');
  return target?.kind === 'filesystem'
    ? await leases.quarantine.verify('pmem0p1', target)
    : undefined;
};

/** Holds up what a store commits until the result is called. */
function shut(store: MemoryStore): () => void {
  const gate = new EventEmitter();
  store.gate = once(gate, 'open');
  return () => gate.emit('open');
}

/** Daemons one after the other on one disk and one clock, each with the same toy file. */
function runs() {
  const disk = emptyDisk();
  const clock = new HandClock();
  const start = async (bootId = 'boot-1', pages = 'wwwwww'): Promise<LeaseSetUp> => {
    const set = await setUpLeases({ disk, clock, bootId });
    set.fs.create('file', [pages]);
    await set.leases.restore();
    return set;
  };
  return { disk, clock, start };
}

t.test('grant: durable before the answer, and undone where the store fails', async (t) => {
  const { disk, start } = runs();
  const { leases, store, pinnedPages } = await start();
  const open = shut(store);
  const asked = leases.acquire(ask({ length: 2 * P }));
  t.equal(pinnedPages(), 2, 'pinned before it is kept');
  t.equal(leases.unkept.length, 1);
  t.equal(disk.records.size, 0);
  open();
  const lease = await asked;
  t.equal(leases.unkept.length, 0);
  t.ok(disk.records.has(lease.id));
  store.gate = undefined;

  store.failure = new DaxdError('ENOSPC', 'the disk is full');
  await t.rejects(leases.acquire(ask({ offset: 4 * P })), refusal('ENOSPC'));
  t.equal(pinnedPages(), 2, 'what is not kept is not pinned');
  t.equal(leases.size, 1);
  t.equal(leases.renew(lease.id).state, 'active', 'a renewal needs no room');
  await t.rejects(leases.release(lease.id), refusal('ENOSPC'));
  t.equal(pinnedPages(), 2, 'and what is kept stays pinned');
  store.failure = undefined;
  t.equal((await leases.release(lease.id)).state, 'released');
  t.equal(disk.records.size, 0);
});

t.test(
  'release: forgotten by the store before the pages are idle; twice at once is once',
  async (t) => {
    const { disk, start } = runs();
    const { leases, store, pinnedPages } = await start();
    const lease = await leases.acquire(ask({ length: 3 * P }));
    const open = shut(store);
    const both = [leases.release(lease.id), leases.release(lease.id)];
    t.equal(pinnedPages(), 3);
    open();
    for (const one of await Promise.all(both)) t.equal(one.state, 'released');
    t.equal(pinnedPages(), 0);
    t.equal(disk.records.size, 0);
    t.equal(store.commits.filter(([change]) => change?.kind === 'remove').length, 1);
  },
);

t.test('restore: the pages are pinned again, and holders go on with a plain renew', async (t) => {
  const { clock, start } = runs();
  const first = await start();
  const file = await first.leases.acquire(ask({ length: 3 * P, ttlMs: 60_000, client: 'nic0' }));
  const raw = await first.leases.acquire(askRaw({ length: P, ttlMs: 60_000 }));
  await first.leases.release(file.id, [{ offset: P, length: P }]);
  const pages = first.pinnedPages();
  await first.leases.close();
  t.equal(first.pinnedPages(), 0, 'an orderly end leaves no pin to wait for');

  clock.advance(5_000);
  const { leases, pinnedPages, claims, lines } = await start();
  t.equal(pinnedPages(), pages);
  t.match(leases.get(file.id).view(), {
    state: 'reclaimable',
    client: 'nic0',
    pages: 2,
    remaining_ttl_ms: 0,
    ranges: [
      { offset: 0, length: P },
      { offset: 2 * P, length: P },
    ],
  });
  t.equal(claims.holder('pmem0p2'), 'raw leases');
  t.match(lines.at(-1), { level: 'info', fields: { leases: 2 } });
  t.match(leases.renew(file.id).view(), { state: 'active', remaining_ttl_ms: 60_000 });
  t.equal(leases.overlapping('pmem0p1', undefined, 0, P).length, 0);
  t.ok((await leases.acquire(ask())).id > raw.id, 'new ids sort after the old ones');
  await leases.release(raw.id);
  t.equal(claims.holder('pmem0p2'), undefined);
});

t.test('restore: without a crash-free end too', async (t) => {
  const { start } = runs();
  const { leases } = await start();
  const lease = await leases.acquire(ask({ length: 2 * P }));
  const next = await start();
  t.equal(next.pinnedPages(), 2);
  t.equal(next.leases.get(lease.id).state, 'reclaimable');
});

t.test('restore: the longer of rest and grace, and never more than the ttl', async (t) => {
  const { clock, start } = runs();
  const { leases } = await start();
  const long = await leases.acquire(ask({ ttlMs: 10 * RESTART_GRACE_MS }));
  const short = await leases.acquire(ask({ ttlMs: 2_000 }));
  const lapsed = await leases.acquire(ask({ ttlMs: RESTART_GRACE_MS + 1_000 }));
  clock.advance(RESTART_GRACE_MS);
  const next = await start();
  const until = (id: string): number => next.leases.get(id).deadlineMs - clock.nowMs();
  t.equal(until(long.id), 9 * RESTART_GRACE_MS, 'the rest');
  t.equal(until(short.id), 2_000, 'no more than its ttl');
  t.equal(until(lapsed.id), RESTART_GRACE_MS, 'the grace');
  clock.advance(2_000);
  t.equal(next.leases.get(short.id).state, 'suspect', 'the grace is over');
  t.equal(next.leases.get(lapsed.id).state, 'reclaimable');
});

t.test('restore: the grace counts from the first start since the last renewal', async (t) => {
  const { clock, start } = runs();
  const { leases } = await start();
  const lease = await leases.acquire(ask({ ttlMs: RESTART_GRACE_MS }));
  clock.advance(RESTART_GRACE_MS - 1_000);
  const third = RESTART_GRACE_MS / 3;
  let set = await start();
  for (let restarts = 0; restarts < 2; restarts++) {
    clock.advance(third);
    set = await start();
    t.equal(set.leases.get(lease.id).deadlineMs - clock.nowMs(), third * (2 - restarts));
  }
  clock.advance(third);
  t.equal(set.leases.get(lease.id).state, 'suspect', 'restarts do not make it immortal');
  set = await start();
  clock.advance(1);
  t.equal(set.leases.get(lease.id).state, 'suspect');
  set.leases.renew(lease.id);
  clock.advance(CHECKPOINT_MS);
  set = await start();
  t.equal(
    set.leases.get(lease.id).deadlineMs - clock.nowMs(),
    RESTART_GRACE_MS,
    'after a renewal that was noted it counts anew',
  );
});

t.test('checkpoint: the deadlines of renewed leases are noted within five seconds', async (t) => {
  const { disk, clock, start } = runs();
  const { leases, store } = await start();
  const lease = await leases.acquire(ask({ ttlMs: 100_000 }));
  const other = await leases.acquire(ask());
  clock.advance(3_000);
  const before = store.commits.length;
  leases.renew(lease.id);
  leases.renew(lease.id);
  t.equal(store.commits.length, before, 'a renewal commits nothing');
  clock.advance(CHECKPOINT_MS);
  await leases.release(other.id);
  t.equal(disk.deadlines.get(lease.id), lease.deadlineMs);
  clock.advance(CHECKPOINT_MS);
  t.equal(store.commits.length, before + 2, 'and only what was renewed is written');
});

t.test('restore: after a reboot of the machine', async (t) => {
  const { disk, start } = runs();
  const first = await start();
  first.processes.set({ pid: 7, startTicks: 70 }, 'alive');
  const bound = await first.leases.acquire(ask({ pid: 7, pidStart: 70 }));
  const free = await first.leases.acquire(ask({ offset: P, ttlMs: 100_000 }));
  const { leases, pinnedPages, clock } = await start('boot-2');
  t.throws(() => leases.get(bound.id), refusal('ENOENT'), 'its process ended with the boot');
  t.notOk(disk.records.has(bound.id));
  t.equal(leases.get(free.id).state, 'reclaimable');
  t.equal(leases.get(free.id).deadlineMs, clock.nowMs() + RESTART_GRACE_MS);
  t.equal(pinnedPages(), 1);
  t.match(disk.header, { bootId: 'boot-2', startsMs: [clock.nowMs()] });
});

t.test('restore: a process that went while no daemon looked', async (t) => {
  const { clock, start } = runs();
  const first = await start();
  first.processes.set({ pid: 7, startTicks: 70 }, 'alive');
  const lease = await first.leases.acquire(ask({ pid: 7, pidStart: 70 }));
  const next = await start();
  next.processes.set({ pid: 7, startTicks: 70 }, 'gone');
  t.equal(next.leases.get(lease.id).state, 'reclaimable');
  clock.advance(1_000);
  await next.leases.release(lease.id);
  t.equal(next.pinnedPages(), 0);
});

t.test('restore: leases of other media are refused', async (t) => {
  const { disk, clock, start } = runs();
  const { leases } = await start();
  const lease = await leases.acquire(ask());
  const raw = await leases.acquire(askRaw());
  const changed = async (change: (set: LeaseSetUp, on: MemoryDisk) => void): Promise<void> => {
    const copy = { ...disk, records: new Map(disk.records), deadlines: new Map(disk.deadlines) };
    const set = await setUpLeases({ disk: copy, clock, bootId: 'boot-1' });
    change(set, copy);
    await t.rejects(set.leases.restore(), refusal('EBUSY'));
    t.equal(copy.records.size, 2, 'and the store is as it was');
  };
  await changed((_, on) => {
    if (on.header !== undefined) on.header = { ...on.header, media: 'namespace-2' };
  });
  await changed(other('pmem0p1', { partition: 'guid-9' }));
  await changed(other('pmem0p1', { filesystem: 'uuid-9' }));
  await changed(other('pmem0p1', { filesystem: undefined, writtenSeconds: undefined }));
  await changed(other('pmem0p1', { writtenSeconds: 99 }));
  await changed(other('pmem0p2', { partition: 'guid-9' }));
  await changed((set) => void set.targets.delete('pmem0p1'));
  const newer = await setUpLeases({ disk, clock });
  newer.fs.create('file', ['ww']);
  other('pmem0p1', { writtenSeconds: 101 })(newer);
  await newer.leases.restore();
  t.equal(newer.leases.size, 2, 'written again meanwhile is no other filesystem');
  for (const { id } of [lease, raw]) await newer.leases.release(id);
  if (disk.header !== undefined) disk.header = { ...disk.header, media: 'namespace-2' };
  await start();
  t.equal(disk.header?.media, 'namespace-1', 'a store without leases belongs to nobody');
});

t.test('verify: a file in other pages puts its leases into quarantine, for good', async (t) => {
  const { disk, start } = runs();
  const first = await start();
  const same = await first.leases.acquire(ask({ length: 2 * P }));
  const moved = await first.leases.acquire(ask({ offset: 3 * P, length: 2 * P }));
  const intact = await start();
  t.equal(await verify(intact), undefined);
  t.equal(intact.leases.get(moved.id).state, 'reclaimable');

  const set = await start('boot-1', 'www-ww');
  t.match(await verify(set), /1 leases pin pages that left their files/);
  t.equal(set.leases.get(same.id).state, 'reclaimable');
  t.match(set.leases.get(moved.id).view(), {
    state: 'quarantined',
    pages: 2,
    quarantined: /bytes from 12288 of inode 11 lie elsewhere now/,
  });
  t.equal(set.pinnedPages(), 4, 'its old pages stay pinned');
  t.equal(set.leases.quarantined.length, 1);
  t.throws(() => set.leases.renew(moved.id), refusal('lease-revoked'));

  const back = await start();
  t.equal(await verify(back), undefined, 'also where they lie as before again');
  t.equal(back.leases.get(moved.id).state, 'quarantined');
  t.equal((await back.leases.release(moved.id)).state, 'released');
  t.equal(back.pinnedPages(), 2);
  t.equal(disk.records.size, 1);
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
    t.strictSame(leases.quarantined, [lease]);
    await leases.release(lease.id);
    t.strictSame(fs.kept, [], 'freed');
    t.notOk(disk.records.has(lease.id));
    t.equal(set.pinnedPages(), 1);
  },
);

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
  t.throws(() => next.leases.get(lease.id), refusal('ENOENT'), 'it is a lease no longer');
  t.equal(next.pinnedPages(), 0);
  t.equal(await verify(next), undefined);
  t.strictSame(next.fs.kept, [], 'now they are freed');
  t.equal(disk.records.size, 0);
});

t.test('verify: what nobody speaks for stays, and goes on a word', async (t) => {
  const { start } = runs();
  const set = await start();
  const { mediaOffset } = set.fs.moveAway('file', 1);
  await verify(set);
  const offset = FS_START + mediaOffset;
  t.match(set.leases.quarantine.unknown, [{ partition: 'pmem0p1', offset, length: P }]);
  await t.rejects(set.leases.quarantine.attest('pmem0p1', offset + P), refusal('ENOENT'));
  t.equal(await set.leases.quarantine.attest('pmem0p1', offset), P);
  t.strictSame(set.fs.kept, []);
  t.strictSame(set.leases.quarantine.unknown, []);
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
    const target = set.targets.get('pmem0p1');
    if (target?.kind === 'filesystem') await set.leases.quarantine.verify('pmem0p1', target);
    t.equal(set.leases.get(lease.id).quarantined?.reason, reason);
  }
});
