import t from 'tap';

import type { Lease } from '../../../src/lease/lease.js';
import { systemClock } from '../../../src/lib/clock.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import type { PfnRun } from '../../../src/mm/gup.js';
import { settle } from '../../support/settle.js';
import { FS_START, ask, setUpLeases } from './set-up.js';

const P = PAGE_SIZE;

/** What became of a promise so far. */
function watch<T>(work: Promise<T>) {
  const seen: { value?: T; code?: string } = {};
  const follow = async (): Promise<void> => {
    try {
      seen.value = await work;
    } catch (error) {
      seen.code = error instanceof DaxdError ? error.code : 'another error';
    }
  };
  void follow();
  return seen;
}

/** A file of four pages, and truncates of it. */
async function setUp() {
  const set = await setUpLeases();
  const file = set.fs.create('file', ['wwww']);
  function* pages(from: number, to: number): Generator<PfnRun> {
    for (const [page, { block }] of file.blocks) {
      const isInside = page * P < to && (page + 1) * P > from;
      if (isInside) yield { firstPfn: FS_START / P + block, count: 1 };
    }
  }
  const truncate = (from = 0, to = Infinity) =>
    watch(
      set.layouts.breakLayouts({
        op: 'truncate',
        inode: file.inode,
        from,
        to,
        pages: () => pages(from, to),
      }),
    );
  const wait = (request = {}, signal?: AbortSignal) =>
    watch<Lease>(set.leases.acquire(ask({ waitMs: 10_000, ...request }), signal));
  return { ...set, file, truncate, wait };
}

t.test(
  'wait: a lease comes after the change before it, and before the one behind it',
  async (t) => {
    const { leases, layouts, truncate, wait } = await setUp();
    const holder = await leases.acquire(ask());
    const first = truncate();
    const waiting = wait();
    const second = truncate();
    const late = wait();
    await settle();
    t.strictSame([first, waiting, second, late], [{}, {}, {}, {}]);
    await t.rejects(leases.acquire(ask()), { code: 'recall-conflict', message: /wait_ms/ });

    await leases.release(holder.id);
    await settle();
    t.ok(first.value, 'the change that was first');
    t.strictSame(waiting, {}, 'which is not done yet');
    first.value?.lift();
    await settle();
    t.equal(waiting.value?.state, 'active');
    t.strictSame([second, late], [{}, {}], 'the next change waits for it');
    await leases.release(waiting.value?.id ?? '');
    await settle();
    t.ok(second.value);
    second.value?.lift();
    await settle();
    t.equal(late.value?.state, 'active');
    t.equal(layouts.size, 0);
  },
);

t.test('wait: a lease that goes before a change is asked for as it is granted', async (t) => {
  const { leases, ring, truncate, wait } = await setUp();
  const holder = await leases.acquire(ask());
  const first = truncate();
  const waiting = wait();
  truncate();
  await leases.release(holder.id);
  await settle();
  const before = ring.last;
  first.value?.lift();
  await settle();
  const { value: lease } = waiting;
  const told = Array.from({ length: ring.last - before }, (_, i) => ring.at(before + 1 + i));
  t.match(told, [
    { name: 'lease.granted', fields: { lease: lease?.id } },
    { name: 'recall', fields: { lease: lease?.id, op: 'truncate', ranges: [{ length: P }] } },
  ]);
});

t.test('wait: bytes that are not concerned are lent at once', async (t) => {
  const { leases, truncate, wait } = await setUp();
  await leases.acquire(ask({ offset: 3 * P }));
  truncate(3 * P, 4 * P);
  const before = wait({ length: 3 * P });
  await settle();
  t.equal(before.value?.state, 'active');
});

t.test('wait: requests do not wait for each other', async (t) => {
  const { leases, truncate, wait } = await setUp();
  const holder = await leases.acquire(ask());
  const first = truncate();
  const both = [wait(), wait({ access: 'write' })];
  await leases.release(holder.id);
  await settle();
  first.value?.lift();
  await settle();
  t.strictSame(
    both.map(({ value }) => value?.state),
    ['active', 'active'],
  );
});

t.test('wait: the time is up, the client is gone, the daemon goes down', async (t) => {
  const { leases, layouts, clock, truncate, wait } = await setUp();
  const holder = await leases.acquire(ask({ ttlMs: 60_000 }));
  const first = truncate();
  const gone = new AbortController();
  const [late, dropped] = [wait({ waitMs: 500 }), wait({}, gone.signal)];
  const behind = truncate();
  gone.abort();
  clock.advance(500);
  await settle();
  t.equal(late.code, 'recall-conflict');
  t.equal(dropped.code, 'cancelled');
  t.equal(layouts.size, 2, 'they left the queue');
  await leases.release(holder.id);
  await settle();
  first.value?.lift();
  await settle();
  t.ok(behind.value, 'and nobody waits for them');
  const last = wait();
  await settle();
  t.strictSame(last, {});
  layouts.drain();
  await settle();
  t.equal(last.code, 'draining');
  behind.value?.lift();
  t.equal(layouts.size, 0);
  t.equal(leases.size, 0);
});

t.test('wait: what the path names then is lent', async (t) => {
  const { fs, leases, truncate, wait } = await setUp();
  const holder = await leases.acquire(ask());
  const first = truncate();
  const waiting = wait();
  await leases.release(holder.id);
  await settle();
  const other = fs.create('file', ['wwww']);
  first.value?.lift();
  await settle();
  t.equal(waiting.value?.terms.inode, other.inode);
});

t.test('fairness: a thousand that pin again and again do not hold up a truncate', async (t) => {
  const { leases, truncate } = await setUp();
  let granted = 0;
  const loop = { goesOn: true };
  const pinAgain = async (): Promise<void> => {
    while (loop.goesOn) {
      const lease = await leases.acquire(ask({ waitMs: 60_000 }));
      granted++;
      await settle();
      await leases.release(lease.id);
    }
  };
  const pinners = Array.from({ length: 1000 }, pinAgain);
  for (let turn = 0; turn < 5; turn++) await settle();
  for (let round = 0; round < 10; round++) {
    const before = granted;
    const startMs = systemClock.nowMs();
    const change = truncate();
    let turns = 0;
    for (; change.value === undefined && turns < 100; turns++) await settle();
    const tookMs = (systemClock.nowMs() - startMs).toFixed(1);
    t.comment(`round ${round}: ${turns} turns of the event loop, ${tookMs} ms`);
    t.ok(change.value, 'the truncate is through');
    t.equal(granted, before, 'nobody was granted a lease over its barrier');
    change.value?.lift();
    for (let turn = 0; turn < 5; turn++) await settle();
    t.ok(granted >= before + 1000, 'and all who waited were, behind it');
  }
  loop.goesOn = false;
  await Promise.all(pinners);
  t.equal(leases.size, 0);
});

t.test('fairness: truncates without end do not hold up a reader', async (t) => {
  const { leases, layouts, truncate } = await setUp();
  let truncated = 0;
  const loop = { goesOn: true };
  const truncateAgain = async (): Promise<void> => {
    while (loop.goesOn) {
      const change = truncate();
      while (change.value === undefined) await settle();
      truncated++;
      change.value.lift();
    }
  };
  const loops = Array.from({ length: 8 }, truncateAgain);
  for (let round = 0; round < 20; round++) {
    const pending = layouts.size;
    const before = truncated;
    const lease = await leases.acquire(ask({ waitMs: 60_000 }));
    t.comment(`round ${round}: ${truncated - before} truncates first, ${pending} were pending`);
    t.ok(truncated - before <= pending, 'those that were there before it, and no other');
    await leases.release(lease.id);
    await settle();
  }
  loop.goesOn = false;
  await Promise.all(loops);
  t.equal(layouts.size, 0);
});
