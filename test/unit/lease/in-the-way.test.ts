import { setImmediate } from 'node:timers/promises';

import t from 'tap';

import { recallsFor } from '../../../src/lease/recalls.js';
import type { RevokingChange } from '../../../src/lease/revocation.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { refusal } from '../../support/refusal.js';
import { Gate } from '../base/gate.js';
import { runs, verify } from './restarts.js';
import { FS_START, ask, releaseAll, setUpLeases } from './set-up.js';
import type { LeaseSetUp } from './set-up.js';

const P = PAGE_SIZE;
const TRUNCATE = { op: 'truncate', deadlineMs: 0, from: 0, to: Infinity, raisedMs: 0 };

t.test('revokeFor: what one is about to bring into the quarantine is counted', async (t) => {
  const { leases, clock, fs, store } = await setUpLeases();
  const [one, two] = ['one', 'two'].map((path): RevokingChange => {
    const { inode } = fs.create(path, ['ww']);
    return { ...TRUNCATE, id: path, inode };
  });
  fs.quarantine.capBytes = 3 * P;
  const asked = ask({ length: 2 * P, ttlMs: 60_000 });
  const first = await leases.acquire({ ...asked, path: 'one' });
  const second = await leases.acquire({ ...asked, path: 'two' });
  const never = new AbortController().signal;
  const revoke = async (change: RevokingChange | undefined) =>
    change && leases.revocation.revokeFor('pmem0p1', change, never);
  clock.advance(30_000);
  const gate = new Gate();
  store.gate = gate.passed;
  const taken = revoke(one);
  await setImmediate();
  await t.rejects(revoke(two), refusal('quarantine-full'));
  gate.open();
  t.match(await taken, [{ lease: first.id, state: 'quarantined' }]);
  await t.rejects(revoke(two), refusal('quarantine-full'), 'until it has moved them, too');
  t.equal(second.state, 'active', 'whose change is refused loses nothing');

  leases.revocation.ended('one');
  t.equal(fs.quarantine.reservedBytes, 0);
  t.match(await revoke(two), [{ lease: second.id, state: 'quarantined' }]);
});

/** Moves pages of the toy file into the quarantine, as a change that defers does. */
async function deferPages({ fs, leases }: LeaseSetUp, pages: readonly number[]): Promise<void> {
  const { inode } = fs.fileAt('file');
  const moved = pages.map((page) => fs.moveAway('file', page));
  const move = { change: '01OP', op: 'truncate', inode, runs: moved };
  await leases.quarantine.deferred('pmem0p1', FS_START, move);
}

/** Has a change wait for a page of the toy file, and gives what it is. */
async function waitingChange({ fs, layouts }: LeaseSetUp, from: number) {
  const { inode } = fs.fileAt('file');
  const runsOf = () =>
    [...fs.fileAt('file').extents(from, Infinity)].map(({ mediaOffset }) => ({
      firstPfn: (FS_START + mediaOffset) / P,
      count: 1,
    }));
  const change = { op: 'truncate', inode, from, to: Infinity, pages: runsOf } as const;
  layouts.breakLayouts(change).catch(() => {});
  await setImmediate();
  const [pending] = [...layouts.pending].toReversed();
  return pending;
}

t.test('overlapping: what left the file is in the way of none of its changes', async (t) => {
  const { start } = runs();
  const set = await start();
  const { leases, fs } = set;
  const { inode } = fs.fileAt('file');
  const gone = await leases.acquire(ask({ length: 2 * P }));
  const partly = await leases.acquire(ask({ offset: P, length: 2 * P }));
  await deferPages(set, [0, 1]);
  t.strictSame([gone.state, partly.state], ['quarantined', 'quarantined']);
  const later = await leases.acquire(ask({ access: 'write' }));
  const inTheWay = (of: LeaseSetUp, from: number, to: number): string[] =>
    of.leases.overlapping('pmem0p1', inode, from, to);
  t.strictSame(inTheWay(set, 0, Infinity).toSorted(), [partly.id, later.id]);
  t.strictSame(inTheWay(set, 0, 2 * P), [later.id], 'of a part in the file, that part');
  t.strictSame(inTheWay(set, P, 2 * P), []);

  const all = await waitingChange(set, 0);
  t.strictSame(leases.view(gone).recalls, []);
  for (const [lease, ranges] of [
    [partly, [{ offset: 2 * P, length: P }]],
    [later, [...later.ranges]],
  ] as const) {
    const [recall] = leases.view(lease).recalls;
    t.equal(recall?.operation, all?.id);
    t.strictSame(recall?.ranges, ranges, 'what is in quarantine is asked of nobody');
    const told = all && recallsFor(all, [lease.id], leases);
    t.strictSame(told?.[0]?.ranges, ranges, 'in the event, too');
  }
  t.throws(() => leases.acknowledge(gone.id, 1_000), refusal('ENOENT'));
  await leases.release(gone.id, [{ offset: 0, length: P }]);
  t.match(gone.view(), { pages: 1 });

  const next = await start();
  next.fs.moveAway('file', 0);
  next.fs.moveAway('file', 1);
  await verify(next);
  t.strictSame(inTheWay(next, 0, 2 * P), [later.id], 'nor after a restart');
  t.strictSame(inTheWay(next, 2 * P, 3 * P), [partly.id]);
  t.equal((await next.leases.release(gone.id)).state, 'released');
  t.equal((await next.leases.release(partly.id)).state, 'released');
});

t.test('view: the quarantine is not looked through for each change that waits', async (t) => {
  const set = await setUpLeases();
  const { leases, fs } = set;
  fs.create('file', ['w', 'w', 'w', 'w']);
  const partly = await leases.acquire(ask({ length: 2 * P }));
  await deferPages(set, [0]);
  for (let i = 0; i < 10; i++) await waitingChange(set, P);
  let looks = 0;
  const { extents } = fs.quarantine;
  fs.quarantine.extents = () => {
    looks++;
    return extents();
  };
  t.equal(leases.view(partly).recalls.length, 10);
  t.equal(looks, 2, 'for which of them wait, and for what they ask for');
});

t.test('revokeFor: a lease that has left the file is none of its affair', async (t) => {
  const { start } = runs();
  const set = await start();
  const { leases, fs } = set;
  const { inode } = fs.fileAt('file');
  await leases.acquire(ask({ length: 2 * P }));
  await deferPages(set, [0, 1]);
  const change = { ...TRUNCATE, id: '01C', inode };
  const never = new AbortController().signal;
  t.strictSame(await leases.revocation.revokeFor('pmem0p1', change, never), []);
  await releaseAll(leases);
  t.equal(set.pinnedPages(), 0);
});
