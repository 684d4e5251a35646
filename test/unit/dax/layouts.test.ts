import { setMaxListeners } from 'node:events';

import t from 'tap';

import { PENDING_CHANGES_MAX, PENDING_OF_INODE_MAX } from '../../../src/dax/layouts.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { settle } from '../../support/settle.js';
import { setUpLayouts, truncateOf, watch } from './set-up.js';

t.test(
  'pendingOver: the barrier is up from the call to the lift, over its bytes alone',
  async (t) => {
    const { layouts, pin, unpin } = await setUpLayouts();
    pin(3);
    const truncate = watch(layouts.breakLayouts(truncateOf(2, 4, { to: Infinity, path: '/a' })));
    const change = layouts.pendingOver(12, 3 * PAGE_SIZE, 3 * PAGE_SIZE + 1);
    t.match(change, { op: 'truncate', inode: 12, path: '/a', state: 'breaking', from: 8192 });
    t.equal(layouts.pendingOver(12, 2 ** 52, 2 ** 52 + 1), change);
    t.equal(layouts.pendingOver(12, 0, 2 * PAGE_SIZE), undefined, 'the bytes before it');
    t.equal(layouts.pendingOver(13, 0, Infinity), undefined, 'another inode');
    unpin(3);
    await settle();
    t.equal(layouts.pendingOver(12, 0, Infinity)?.state, 'broken', 'it commits now');
    truncate.layout?.lift();
    t.equal(layouts.pendingOver(12, 0, Infinity), undefined);
  },
);

t.test('onBarrierUp: told once, with the barrier up and before the scan', async (t) => {
  const told: string[] = [];
  const { layouts, pin, unpin } = await setUpLayouts({
    onBarrierUp: (change) => {
      told.push(change.id);
      t.equal(layouts.pendingOver(change.inode, change.from, change.to), change);
      unpin(3);
    },
  });
  pin(3);
  const layout = await layouts.breakLayouts(truncateOf(0, 10));
  t.equal(layout.waitedMs, 0, 'the holder let go in time');
  t.equal(told.length, 1);
});

t.test('onBarrierDown: told once the barrier is down, however the change ended', async (t) => {
  const told: unknown[] = [];
  const { layouts, pin, unpin } = await setUpLayouts({
    onBarrierDown: ({ op, state, wasBroken, inode, from, to }) => {
      told.push([op, state, wasBroken, layouts.pendingOver(inode, from, to)]);
    },
  });
  pin(3);
  const gone = new AbortController();
  const given = watch(layouts.breakLayouts(truncateOf(0, 10, { signal: gone.signal })));
  const waiting = watch(layouts.breakLayouts(truncateOf(20, 10, { op: 'replace' })));
  await settle();
  t.strictSame(told, []);
  gone.abort();
  await settle();
  t.ok(given.error);
  t.strictSame(told, [['truncate', 'ended', false, undefined]]);
  unpin(3);
  await settle();
  t.equal(told.length, 1, 'the other one is being committed');
  waiting.layout?.lift();
  waiting.layout?.lift();
  layouts.tryBreakLayouts(truncateOf(0, 10, { op: 'unlink' }))?.lift();
  t.strictSame(told.slice(1), [
    ['replace', 'ended', true, undefined],
    ['unlink', 'ended', true, undefined],
  ]);
});

t.test(
  'breakLayouts: overlapping changes go first come, first served; disjoint ones pass',
  async (t) => {
    const { layouts, pin, unpin, waits } = await setUpLayouts();
    pin(1);
    const first = watch(layouts.breakLayouts(truncateOf(0, 10)));
    const second = watch(layouts.breakLayouts(truncateOf(5, 10, { op: 'punch-hole' })));
    const third = watch(layouts.breakLayouts(truncateOf(12, 10)));
    const apart = watch(layouts.breakLayouts(truncateOf(30, 5)));
    const other = watch(layouts.breakLayouts(truncateOf(0, 10, { inode: 13, pages: () => [] })));
    await settle();
    t.ok(apart.layout, 'disjoint');
    t.ok(other.layout, 'another inode');
    t.notOk(second.layout, 'idle itself, but behind the first');
    t.notOk(third.layout, 'behind the second');
    t.strictSame(
      [...layouts.pending].map((change) => change.state),
      ['breaking', 'queued', 'queued', 'broken', 'broken'],
    );

    unpin(1);
    await settle();
    t.ok(first.layout);
    t.notOk(second.layout, 'the first has not lifted');
    first.layout?.lift();
    await settle();
    t.ok(second.layout);
    t.notOk(third.layout);
    second.layout?.lift();
    await settle();
    t.ok(third.layout);
    t.equal(waits.length, 5);
    for (const { layout } of [third, apart, other]) layout?.lift();
    t.equal(layouts.size, 0);
  },
);

t.test('breakLayouts: bytes that only touch are disjoint', async (t) => {
  const { layouts, pin } = await setUpLayouts();
  pin(1);
  watch(layouts.breakLayouts(truncateOf(0, 10)));
  const behind = await layouts.breakLayouts(truncateOf(10, 10));
  t.equal(behind.waitedMs, 0);
});

t.test('breakLayouts: refuses more pending changes than the limit, and recovers', async (t) => {
  const { layouts } = await setUpLayouts({ dax: false });
  const first = await layouts.breakLayouts(truncateOf(0, 1));
  for (let n = 1; n < PENDING_CHANGES_MAX; n++) {
    void layouts.breakLayouts(truncateOf(0, 1, { inode: 1_000 + n }));
  }
  await settle();
  await t.rejects(layouts.breakLayouts(truncateOf(0, 1)), { code: 'EBUSY' });
  t.equal(layouts.size, PENDING_CHANGES_MAX);
  first.lift();
  const next = await layouts.breakLayouts(truncateOf(0, 1));
  t.equal(next.waitedMs, 0);
});

t.test('breakLayouts: those who wait for one file leave room for another', async (t) => {
  const { layouts, pin } = await setUpLayouts();
  pin(0);
  const gone = new AbortController();
  setMaxListeners(0, gone.signal);
  const { signal } = gone;
  const waits = Array.from({ length: PENDING_OF_INODE_MAX }, () =>
    layouts.breakLayouts(truncateOf(0, 1, { signal })),
  );
  const refusal = { code: 'EBUSY', message: /inode 12: 1024 changes of this file wait already/ };
  await t.rejects(layouts.breakLayouts(truncateOf(0, 1)), refusal);
  const other = watch(layouts.breakLayouts(truncateOf(0, 1, { inode: 13, signal })));
  await settle();
  t.equal(other.error, undefined, 'it waits for the page');
  gone.abort();
  await Promise.allSettled(waits);
});

t.test('breakLayouts: however many wait, what need not wait goes on', async (t) => {
  const { layouts, pin } = await setUpLayouts();
  pin(0);
  const gone = new AbortController();
  setMaxListeners(0, gone.signal);
  const { signal } = gone;
  const waits = Array.from({ length: PENDING_CHANGES_MAX }, (_, i) =>
    layouts.breakLayouts(truncateOf(0, 1, { inode: 1_000 + i, signal })),
  );
  const passing = await layouts.breakLayouts(truncateOf(5, 1));
  t.equal(layouts.pendingOver(12, 5 * PAGE_SIZE, 6 * PAGE_SIZE)?.state, 'broken');
  t.equal(passing.waitedMs, 0);
  await t.rejects(layouts.breakLayouts(truncateOf(5, 1)), { code: 'EBUSY' }, 'behind that one');
  passing.lift();
  const revoking = truncateOf(0, 1, { defer: true, revoke: async () => {} });
  await t.rejects(layouts.breakLayouts(revoking), { code: 'EBUSY' }, 'its holders come first');
  layouts.drain();
  await t.rejects(layouts.breakLayouts(truncateOf(5, 1)), { code: 'draining' });
  gone.abort();
  await Promise.allSettled(waits);
});

t.test('breakLayouts: without DAX only earlier changes are awaited', async (t) => {
  const { layouts, pin, clock } = await setUpLayouts({ dax: false });
  pin(0, 100);
  const first = await layouts.breakLayouts(truncateOf(0, 10));
  first.assertIdle();
  const second = watch(layouts.breakLayouts(truncateOf(0, 10)));
  await settle();
  t.notOk(second.layout);
  clock.ms += 10;
  first.lift();
  await settle();
  t.equal(second.layout?.waitedMs, 10);
});

t.test('pending: tells since when and for how long, until the pages are idle', async (t) => {
  const { layouts, clock, pin, unpin } = await setUpLayouts();
  pin(0);
  const truncate = watch(layouts.breakLayouts(truncateOf(0, 1)));
  const [change] = layouts.pending;
  t.equal(change?.startedWallMs, 1000);
  clock.ms += 40;
  t.equal(change?.waitedMs(), 40);
  unpin(0);
  await settle();
  clock.ms += 40;
  t.equal(change?.waitedMs(), 40);
  change?.cancel();
  await settle();
  t.equal(change?.state, 'broken', 'too late to cancel');
  truncate.layout?.lift();
  t.equal(change?.state, 'ended');
});

t.test('tryBreakLayouts: at once, or not at all and no barrier is left', async (t) => {
  const told: string[] = [];
  const { layouts, pin, unpin, waits } = await setUpLayouts({
    onBarrierUp: ({ id }) => told.push(id),
  });
  pin(3);
  t.equal(layouts.tryBreakLayouts(truncateOf(0, 10)), undefined, 'a page is pinned');
  t.equal(layouts.size, 0);
  unpin(3);
  const layout = layouts.tryBreakLayouts(truncateOf(0, 10));
  t.match(layout, { waitedMs: 0 });
  t.equal(layouts.pendingOver(12, 0, PAGE_SIZE)?.state, 'broken', 'the barrier is up');
  t.equal(layouts.tryBreakLayouts(truncateOf(5, 10)), undefined, 'an earlier change is pending');
  const behind = watch(layouts.breakLayouts(truncateOf(5, 10)));
  await settle();
  t.notOk(behind.layout, 'a wait queues behind it');
  layout?.assertIdle();
  layout?.lift();
  await settle();
  t.ok(behind.layout);
  behind.layout?.lift();

  layouts.drain();
  const last = layouts.tryBreakLayouts(truncateOf(0, 10));
  t.ok(last, 'what waits for nothing goes on at shutdown');
  last?.lift();
  t.throws(
    () =>
      layouts.tryBreakLayouts(
        truncateOf(0, 10, {
          pages() {
            throw new RangeError('no pages');
          },
        }),
      ),
    RangeError,
  );
  t.equal(layouts.size, 0);
  t.equal(told.length, 1, 'only the one that waits is recalled');
  t.strictSame(waits, ['truncate done 0', 'truncate done 0', 'truncate done 0']);
});

t.test(
  'breakLayouts: one of an earlier daemon keeps its id, and waits since its start',
  async (t) => {
    const { layouts, pin, unpin, clock, waits } = await setUpLayouts();
    pin(3);
    const resumed = { id: '01A', startedMs: clock.nowMs() - 5_000, startedWallMs: 1_000 };
    const truncate = watch(layouts.breakLayouts(truncateOf(0, 10, { resumed })));
    const [change] = layouts.pending;
    t.match(change, { id: '01A', startedWallMs: 1_000, state: 'breaking' });
    t.equal(change?.waitedMs(), 5_000);
    unpin(3);
    await settle();
    truncate.layout?.lift();
    t.strictSame(waits, ['truncate done 5']);
  },
);
