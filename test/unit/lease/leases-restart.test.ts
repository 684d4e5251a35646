import { EventEmitter, once } from 'node:events';

import t from 'tap';

import { CHECKPOINT_MS, NOTE_LAG_MS, RESTART_GRACE_MS } from '../../../src/lease/limits.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { refusal } from '../../support/refusal.js';
import type { MemoryDisk, MemoryStore } from './memory-store.js';
import { other, runs } from './restarts.js';
import { ask, askRaw, setUpLeases } from './set-up.js';
import type { LeaseSetUp } from './set-up.js';

const P = PAGE_SIZE;

/** Holds up what a store commits until the result is called. */
function shut(store: MemoryStore): () => void {
  const gate = new EventEmitter();
  store.gate = once(gate, 'open');
  return () => gate.emit('open');
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

t.test('release: remembered by the next daemon, where it is idempotent as ever', async (t) => {
  const { start } = runs();
  const first = await start();
  const { id } = await first.leases.acquire(ask({ client: 'nic0', secretHash: 'hash' }));
  const ended = first.leases.view(await first.leases.release(id));
  t.strictSame(first.leases.view(first.leases.get(id)), ended, 'in the same daemon too');

  const { leases, store, pinnedPages } = await start();
  t.strictSame(leases.view(leases.get(id)), ended);
  t.equal(leases.get(id).terms.secretHash, 'hash', 'it is told by its secret still');
  const commits = store.commits.length;
  t.equal((await leases.release(id)).state, 'released');
  t.equal((await leases.release(id, [{ offset: 0, length: P }])).state, 'released');
  t.throws(() => leases.renew(id), refusal('ENOENT'));
  t.equal(store.commits.length, commits, 'nothing is left to change');
  t.equal(pinnedPages(), 0);
  t.equal(leases.list({}).leases.length, 0);
  t.throws(() => leases.get('01NEVER'), refusal('ENOENT'));
});

t.test('a key: granted in the same commit, and known to the next daemon', async (t) => {
  const { start } = runs();
  const first = await start();
  const key = { id: 'k', fingerprint: 'f' };
  const open = shut(first.store);
  const lost = first.leases.acquire(ask({ key, secretSalt: 'salt' }));
  open();
  const { id } = await lost;
  const grant = first.store.commits.find((changes) => changes.some((one) => one.kind === 'key'));
  t.strictSame(
    grant?.map(({ kind }) => kind),
    ['put', 'key'],
  );

  const { leases, pinnedPages, store } = await start();
  const again = await leases.acquire(ask({ key, secretSalt: 'another' }));
  t.equal(again.id, id);
  t.equal(again.terms.secretSalt, 'salt');
  t.equal(again.state, 'reclaimable', 'it is not renewed by that');
  t.equal(pinnedPages(), 1, 'pinned once');
  await t.rejects(
    leases.acquire(ask({ key: { id: 'k', fingerprint: 'g' } })),
    refusal('idempotency-mismatch'),
  );
  store.failure = new DaxdError('ENOSPC', 'the disk is full');
  const full = { id: 'l', fingerprint: 'f' };
  await t.rejects(leases.acquire(ask({ key: full })), refusal('ENOSPC'));
  store.failure = undefined;
  t.not((await leases.acquire(ask({ key: full }))).id, id, 'what was not granted left no key');
  await leases.release(id);
  t.equal((await leases.acquire(ask({ key }))).state, 'released');
});

t.test('fencing tokens: only grow, over refusals and restarts', async (t) => {
  const { start } = runs();
  const first = await start();
  const tokens = [];
  for (let i = 0; i < 3; i++) {
    const lease = await first.leases.acquire(ask());
    tokens.push(first.leases.view(lease).fencing_token);
    await first.leases.release(lease.id);
    t.equal(first.leases.view(first.leases.get(lease.id)).fencing_token, tokens.at(-1));
  }
  first.store.failure = new DaxdError('ENOSPC', 'the disk is full');
  await t.rejects(first.leases.acquire(ask()), refusal('ENOSPC'));
  const { leases } = await start();
  tokens.push((await leases.acquire(ask())).terms.fencingToken);
  t.strictSame(
    tokens,
    tokens.toSorted((a, b) => a - b),
  );
  t.equal(new Set(tokens).size, 4);
});

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
  t.equal(until(long.id), 9 * RESTART_GRACE_MS + NOTE_LAG_MS, 'the rest');
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
  first.holders.set({ pid: 7, startTicks: 70, view: '' }, 'alive');
  const bound = await first.leases.acquire(ask({ pid: 7, pidStart: 70 }));
  first.holders.set({ cgroup: '/one', inode: 5, rootInode: 1 }, 'alive');
  const grouped = await first.leases.acquire(ask({ cgroup: '/one' }));
  const free = await first.leases.acquire(ask({ offset: P, ttlMs: 100_000 }));
  const { leases, pinnedPages, clock } = await start('boot-2');
  t.match(leases.get(grouped.id).view(), { state: 'released', ended: 'reboot', cgroup: '/one' });
  t.equal(leases.get(bound.id).state, 'released', 'its process ended with the boot');
  t.notOk(disk.records.has(bound.id));
  t.equal(leases.get(free.id).state, 'reclaimable');
  t.equal(leases.get(free.id).deadlineMs, clock.nowMs() + RESTART_GRACE_MS);
  t.equal(pinnedPages(), 1);
  t.match(disk.header, { bootId: 'boot-2', startsMs: [clock.nowMs()] });
});

t.test('restore: a process that went while no daemon looked', async (t) => {
  const { clock, start } = runs();
  const first = await start();
  first.holders.set({ pid: 7, startTicks: 70, view: '' }, 'alive');
  const lease = await first.leases.acquire(ask({ pid: 7, pidStart: 70 }));
  const next = await start();
  next.holders.set({ pid: 7, startTicks: 70, view: '' }, 'gone');
  t.equal(next.leases.get(lease.id).state, 'reclaimable');
  clock.advance(1_000);
  await next.leases.release(lease.id);
  t.equal(next.pinnedPages(), 0);
});

t.test('restore: leases of other media are refused', async (t) => {
  const { disk, clock, start } = runs();
  const first = await start();
  const { leases } = first;
  const lease = await leases.acquire(ask());
  other('pmem0p2', { filesystem: 'uuid-2', writtenSeconds: 100 })(first);
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
  other('pmem0p2', { filesystem: undefined, writtenSeconds: undefined })(newer);
  await newer.leases.restore();
  t.equal(
    newer.leases.size,
    2,
    'written again meanwhile is no other one, nor by the holder of a raw lease',
  );
  for (const { id } of [lease, raw]) await newer.leases.release(id);
  if (disk.header !== undefined) disk.header = { ...disk.header, media: 'namespace-2' };
  await start();
  t.equal(disk.header?.media, 'namespace-1', 'a store without leases belongs to nobody');
});
