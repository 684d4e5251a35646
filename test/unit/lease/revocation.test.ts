import { setImmediate } from 'node:timers/promises';

import t from 'tap';

import type { FenceOutcome } from '../../../src/lease/fence.js';
import type { RevokingChange } from '../../../src/lease/revocation.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { refusal } from '../../support/refusal.js';
import { Gate } from '../base/gate.js';
import { FS_START, ask, setUpLeases } from './set-up.js';
import type { LeaseSetUp } from './set-up.js';

const FULL = new DaxdError('ENOSPC', 'full');

function change({ fs, clock }: LeaseSetUp, raisedMs = clock.nowMs()): RevokingChange {
  const { inode } = fs.fileAt('file');
  return { id: '01C', op: 'truncate', deadlineMs: 1_000, inode, from: 0, to: Infinity, raisedMs };
}

async function setUp(options: Parameters<typeof setUpLeases>[0] = {}) {
  const set = await setUpLeases(options);
  set.fs.create('file', ['www']);
  return set;
}

t.test('revokeFor: where the store fails for one, no other is taken later', async (t) => {
  const set = await setUp({ fence: willingFence() });
  const { leases, clock, store } = set;
  const lapsed = await leases.acquire(ask({ ttlMs: 1_000 }));
  const healthy = await leases.acquire(ask({ offset: PAGE_SIZE, ttlMs: 60_000 }));
  clock.advance(1_000);
  t.equal(lapsed.state, 'suspect');
  store.failure = FULL;
  const never = new AbortController();
  await t.rejects(
    leases.revocation.revokeFor('pmem0p1', change(set), never.signal),
    refusal('ENOSPC'),
  );
  store.failure = undefined;
  clock.advance(120_000);
  await setImmediate();
  t.equal(healthy.state, 'suspect', 'it lapsed, and nobody waits');
  t.equal(set.pinnedPages(), 2);
});

t.test('lapsed: a renewal that comes while its lease is taken is told so', async (t) => {
  const set = await setUp({ fence: willingFence() });
  const { leases, clock, store } = set;
  const taken = await leases.acquire(ask({ ttlMs: 1_000 }));
  clock.advance(1_000);
  const gate = new Gate();
  store.gate = gate.passed;
  leases.revocation.lapsed(taken, 'truncate 01C');
  await setImmediate();
  t.throws(() => leases.renew(taken.id), { code: 'lease-revoked', message: /being revoked/ });
  t.equal(taken.state, 'suspect');
  store.failure = FULL;
  gate.open();
  await setImmediate();
  store.gate = undefined;
  t.equal(leases.renew(taken.id).state, 'active', "the store did not take it: it is its holder's");
});

t.test('revokeFor: whoever gives up does not wait for a fence, which goes on', async (t) => {
  const gate = new Gate();
  const fence = {
    fence: async (): Promise<FenceOutcome> => {
      await gate.passed;
      return { isFenced: true, detail: 'shut' };
    },
    stop: (): void => {},
  };
  const set = await setUp({ fence });
  const { leases, clock } = set;
  const lease = await leases.acquire(ask({ ttlMs: 1_000 }));
  clock.advance(1_000);
  const asked = new AbortController();
  const revoked = leases.revocation.revokeFor('pmem0p1', change(set), asked.signal);
  await setImmediate();
  t.match(lease, { state: 'quarantined', quarantined: { isRevoked: true } });
  asked.abort();
  t.match(await revoked, [{ lease: lease.id, state: 'quarantined' }]);
  gate.open();
  await setImmediate();
  t.equal(lease.state, 'revoked');
  t.equal(set.pinnedPages(), 0);
});

/** A fence that says yes at once, and how often it was asked. */
function willingFence() {
  const asked: string[] = [];
  return {
    asked,
    fence: async ({ id }: { readonly id: string }): Promise<FenceOutcome> => {
      asked.push(id);
      return { isFenced: true, detail: 'shut' };
    },
    stop: (): void => {},
  };
}

t.test('lapsed: what the store did not keep is no revocation: it is tried again', async (t) => {
  const fence = willingFence();
  const set = await setUp({ fence });
  const { leases, clock, store } = set;
  const lease = await leases.acquire(ask({ ttlMs: 1_000 }));
  const renewed = await leases.acquire(ask({ ttlMs: 1_000 }));
  clock.advance(1_000);
  store.failure = FULL;
  for (const one of [lease, renewed]) leases.revocation.lapsed(one, 'truncate 01C');
  await setImmediate();
  leases.renew(renewed.id);
  store.failure = undefined;
  t.strictSame(fence.asked, [], 'nobody is fenced whose rights the store still has');
  clock.advance(900);
  await setImmediate();
  clock.advance(99);
  t.equal(renewed.state, 'active');
  clock.advance(1);
  for (let turn = 0; turn < 5; turn++) await setImmediate();
  t.equal(lease.state, 'revoked');
  t.strictSame(fence.asked, [lease.id], 'whoever has renewed meanwhile is left alone');
});

t.test('revoke: an end that the store does not keep is tried again by itself', async (t) => {
  const fence = willingFence();
  const set = await setUp({ fence });
  const { leases, clock, store } = set;
  const lease = await leases.acquire(ask({ ttlMs: 60_000 }));
  const commit = store.commit.bind(store);
  let commits = 0;
  store.commit = async (changes) => {
    commits++;
    if (commits === 2) throw new DaxdError('EIO', 'gone');
    await commit(changes);
  };
  await t.rejects(leases.revocation.revoke(lease, 'test'), refusal('EIO'));
  t.equal(lease.state, 'quarantined');
  clock.advance(1_000);
  for (let turn = 0; turn < 5; turn++) await setImmediate();
  t.equal(lease.state, 'revoked');
  t.equal(set.pinnedPages(), 0);
});

/** Moves the clock second by second, and lets what it woke go as far as it can. */
async function passSeconds(clock: LeaseSetUp['clock'], seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second++) {
    clock.advance(1_000);
    for (let turn = 0; turn < 5; turn++) await setImmediate();
  }
}

t.test('revoke: where the store goes on failing, the pause doubles each time', async (t) => {
  const times: number[] = [];
  const set = await setUp({
    fence: {
      fence: async (): Promise<FenceOutcome> => {
        times.push(set.clock.nowMs() - startMs);
        set.store.failure = FULL;
        return { isFenced: true, detail: 'shut' };
      },
      stop: (): void => {},
    },
  });
  const { leases, clock } = set;
  const startMs = clock.nowMs();
  const lease = await leases.acquire(ask({ ttlMs: 60_000 }));
  await t.rejects(leases.revocation.revoke(lease, 'test'), refusal('ENOSPC'));
  await passSeconds(clock, 16);
  t.strictSame(times, [0, 1_000, 3_000, 7_000, 15_000]);
});

t.test('lapsed: however many wait, what the store did not keep is tried once', async (t) => {
  const set = await setUp({ fence: willingFence() });
  const { leases, clock, store } = set;
  const lease = await leases.acquire(ask({ ttlMs: 1_000 }));
  clock.advance(1_000);
  store.failure = FULL;
  for (const id of ['01C', '01D', '01E']) leases.revocation.lapsed(lease, `truncate ${id}`);
  await setImmediate();
  store.failure = undefined;
  await passSeconds(clock, 1);
  t.equal(lease.state, 'revoked');
});

t.test('keep: the end of a holder behind a grant that fails finds it over', async (t) => {
  const set = await setUp();
  const { leases, store, holders, clock } = set;
  const process = holders.process(7, 70);
  holders.set(process, 'alive');
  const gate = new Gate();
  store.gate = gate.passed;
  const granted = leases.acquire(ask({ pid: 7, pidStart: 70 }));
  await setImmediate();
  holders.set(process, 'gone');
  clock.advance(2_000);
  store.gate = undefined;
  store.failure = FULL;
  gate.open();
  await t.rejects(granted, refusal('ENOSPC'));
  store.failure = undefined;
  await setImmediate();
  t.equal(leases.size, 0);
  t.equal(set.pinnedPages(), 0);
});

t.test('close: a release under way comes to its end before the pages are let go', async (t) => {
  const set = await setUp();
  const { leases, store } = set;
  const lease = await leases.acquire(ask());
  const gate = new Gate();
  store.gate = gate.passed;
  const released = leases.release(lease.id);
  const closed = leases.close();
  await setImmediate();
  gate.open();
  t.equal((await released).state, 'released');
  await closed;
  t.equal(store.disk.records.size, 0);
});

t.test('close: a grant that is given back as soon as it is kept ends before', async (t) => {
  const { leases, store, pinnedPages } = await setUp();
  const gate = new Gate();
  store.gate = gate.passed;
  // As for a client that hung up meanwhile.
  const returned = leases.acquire(ask()).then(({ id }) => leases.release(id));
  await setImmediate();
  const closed = leases.close();
  await setImmediate();
  const later = new Gate();
  store.gate = later.passed;
  gate.open();
  await setImmediate();
  later.open();
  t.match(await returned, { state: 'released' });
  await closed;
  t.equal(pinnedPages(), 0);
  t.equal(store.disk.records.size, 0);
});

t.test('close: the end of a holder is no longer looked for', async (t) => {
  const { leases, clock, holders, store } = await setUp();
  holders.set(holders.process(7, 70), 'alive');
  await leases.acquire(ask({ pid: 7, pidStart: 70 }));
  await leases.close();
  holders.set(holders.process(7, 70), 'gone');
  clock.advance(10_000);
  await setImmediate();
  t.equal(store.disk.records.size, 1, 'the next daemon sees it');
});

t.test('revokeFor: of a lease that a change went on without, what is left is fenced', async (t) => {
  const fence = willingFence();
  const set = await setUp({ fence });
  const { leases, clock, fs } = set;
  const lease = await leases.acquire(ask({ length: 3 * PAGE_SIZE, ttlMs: 60_000 }));
  const { inode } = fs.fileAt('file');
  const runs = [fs.moveAway('file', 2)];
  await leases.quarantine.deferred('pmem0p1', FS_START, {
    change: 'x',
    op: 'truncate',
    inode,
    runs,
  });
  t.equal(lease.state, 'quarantined');
  const never = new AbortController().signal;
  const gone = { ...change(set), from: 2 * PAGE_SIZE };
  t.match(await leases.revocation.revokeFor('pmem0p1', gone, never), [{ state: 'quarantined' }]);
  t.strictSame(fence.asked, [], 'what left the file is in nobody’s way');
  clock.advance(1_000);
  t.match(await leases.revocation.revokeFor('pmem0p1', change(set), never), [
    { lease: lease.id, state: 'revoked', detail: 'fenced: shut' },
  ]);
  t.strictSame(fence.asked, [lease.id]);
  t.equal(set.pinnedPages(), 0);
  t.equal(fs.kept.length, 0, 'and what had left it is free, too');
});

t.test(
  'revokeFor: what the quarantine may not take, with nothing to fence, is not taken',
  async (t) => {
    const set = await setUp();
    const { leases, clock, fs, holders } = set;
    holders.set(holders.process(7, 70), 'alive');
    const lapsed = await leases.acquire(ask({ ttlMs: 1_000 }));
    const healthy = await leases.acquire(ask({ length: 2 * PAGE_SIZE, ttlMs: 60_000 }));
    const bound = await leases.acquire(ask({ offset: 2 * PAGE_SIZE, pid: 7, pidStart: 70 }));
    fs.quarantine.bytes = PAGE_SIZE;
    fs.quarantine.capBytes = 2 * PAGE_SIZE;
    const never = new AbortController().signal;
    const passMs = 60_000;
    const startMs = clock.nowMs();
    const refused = leases.revocation.revokeFor('pmem0p1', change(set, startMs), never);
    const rejected = t.rejects(refused, refusal('quarantine-full'));
    await passSeconds(clock, passMs / 1_000);
    await rejected;
    t.equal(leases.renew(lapsed.id).state, 'active', 'all holders have what they had');
    t.equal(leases.renew(healthy.id).state, 'active');
    t.equal(set.pinnedPages(), 3);

    fs.quarantine.capBytes = 3 * PAGE_SIZE;
    holders.set(holders.process(7, 70), 'gone');
    const again = leases.revocation.revokeFor('pmem0p1', change(set, startMs), never);
    t.match(await again, [
      { lease: lapsed.id, state: 'quarantined' },
      { lease: healthy.id, state: 'quarantined' },
      { lease: bound.id, state: 'released' },
    ]);
  },
);
