/**
 * A crash with a commit under way: until the store has it, the pages are pinned as it was before,
 * and so the next daemon pins them, whose holders may still do DMA to all of them.
 */
import t from 'tap';

import type { Leases } from '../../../src/lease/leases.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { settle } from '../../support/settle.js';
import { Gate } from '../base/gate.js';
import { runs } from './restarts.js';
import { ask, setUpLeases } from './set-up.js';
import type { LeaseSetUp } from './set-up.js';

const P = PAGE_SIZE;

/** Steps that take pages from a lease of three, and how many the lease keeps. */
const STEPS: readonly [string, (leases: Leases, id: string) => Promise<unknown>, number][] = [
  ['a partial release', (leases, id) => leases.release(id, [{ offset: P, length: P }]), 2],
  ['a release', (leases, id) => leases.release(id), 0],
  ['the end of its holder', (leases, id) => leases.revocation.proven(id, 'its end was seen'), 0],
];

for (const [name, step, left] of STEPS) {
  t.test(`${name}: a crash before the store has it leaves every page pinned`, async (t) => {
    const { start } = runs();
    const set = await start();
    const { id } = await set.leases.acquire(ask({ length: 3 * P }));
    const gate = new Gate();
    set.store.gate = gate.passed;
    const under = step(set.leases, id);
    await settle();
    t.equal(set.pinnedPages(), 3, 'pinned while it is under way');
    t.match(set.leases.get(id).view(), { state: 'active', pages: 3 });

    // The gate stays shut: nothing of the step reaches the disk.
    const next = await start();
    t.equal(next.pinnedPages(), 3, 'and after the crash');
    t.match(next.leases.get(id).view(), { state: 'reclaimable', pages: 3 });

    gate.open();
    await under;
    t.equal(set.pinnedPages(), left, 'unpinned once the store has it');
    t.equal((await start()).pinnedPages(), left);
  });
}

t.test('a grant: a crash before the store has it leaves nothing', async (t) => {
  const { start } = runs();
  const set = await start();
  set.store.gate = new Gate().passed;
  void set.leases.acquire(ask({ length: 3 * P }));
  await settle();
  t.equal(set.pinnedPages(), 3, 'pinned before it is kept');
  const next = await start();
  t.equal(next.pinnedPages(), 0, 'nobody was told of it');
  t.equal(next.leases.size, 0);
});

t.test('a revocation: a crash before the store has it leaves the lease as it was', async (t) => {
  const { start } = runs();
  const set = await start();
  const { id } = await set.leases.acquire(ask({ length: 3 * P }));
  const gate = new Gate();
  set.store.gate = gate.passed;
  const revoked = set.leases.revocation.revoke(set.leases.get(id), 'somebody waits');
  await settle();
  t.equal(set.leases.get(id).state, 'active', 'nobody is fenced yet');
  const next = await start();
  t.equal(next.pinnedPages(), 3);
  t.equal(next.leases.get(id).state, 'reclaimable');

  gate.open();
  await revoked;
  t.equal(set.leases.get(id).state, 'quarantined');
  t.equal(set.pinnedPages(), 3, 'there is no proof');
  const last = await start();
  t.equal(last.leases.get(id).state, 'quarantined');
  t.equal(last.pinnedPages(), 3);
});

for (const [name, end] of [
  ['a release', async (leases, id) => leases.release(id)],
  ['the end of its holder', async (leases, id) => leases.revocation.proven(id, 'its end was seen')],
] as const satisfies [string, (leases: Leases, id: string) => Promise<unknown>][]) {
  t.test(`${name}: nobody is told that the lease goes on while the store takes it`, async (t) => {
    const { leases, store, fs } = await setUpLeases();
    fs.create('file', ['w']);
    const request = ask({ key: { id: 'key', fingerprint: 'request' } });
    const { id } = await leases.acquire(request);
    const gate = new Gate();
    store.gate = gate.passed;
    const under = end(leases, id);
    await settle();

    const wanted = { code: 'ENOENT', message: /is being ended/ };
    t.throws(() => leases.renew(id), wanted);
    t.throws(() => leases.kept(id), wanted);
    t.throws(() => leases.acknowledge(id, 1_000), wanted);
    await t.rejects(leases.acquire(request), wanted);

    gate.open();
    await under;
    t.throws(() => leases.kept(id), { code: 'ENOENT', message: /has ended/ });
  });
}

for (const [name, hinder] of [
  [
    'behind another step',
    ({ leases, store }, id) => {
      store.gate = new Gate().passed;
      void leases.release(id, [{ offset: 0, length: P }]);
    },
  ],
  [
    'a store that fails',
    ({ store }) => {
      store.failure = new DaxdError('EIO', 'the disk fails');
    },
  ],
] as const satisfies [string, (set: LeaseSetUp, id: string) => void][]) {
  t.test(`the end of its holder, ${name}: nobody goes on with the lease`, async (t) => {
    const set = await setUpLeases();
    const { leases, store, clock } = set;
    set.fs.create('file', ['ww']);
    const { id } = await leases.acquire(ask({ length: 2 * P }));
    hinder(set, id);
    void leases.revocation.proven(id, 'connection closed');
    await settle();
    store.failure = undefined;
    const wanted = { code: 'ENOENT', message: /is being ended/ };
    t.throws(() => leases.renew(id), wanted);
    t.throws(() => leases.kept(id), wanted);
    t.equal(set.pinnedPages(), 2, 'its pages are pinned until the store has it');
    if (store.gate !== undefined) return;
    clock.advance(1_000);
    await settle();
    t.equal(set.pinnedPages(), 0, 'it is tried again');
  });
}

t.test('an end that the store does not keep: the lease goes on', async (t) => {
  const { leases, store, fs } = await setUpLeases();
  fs.create('file', ['w']);
  const { id } = await leases.acquire(ask());
  store.failure = new DaxdError('ENOSPC', 'the disk is full');
  await t.rejects(leases.release(id), { code: 'ENOSPC' });
  store.failure = undefined;
  t.equal(leases.renew(id).state, 'active');
  t.equal(leases.kept(id).id, id);
});
