import t from 'tap';

import { Layouts } from '../../../src/dax/layouts.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { settle } from '../../support/settle.js';
import { setUpLayouts, truncateOf, watch } from './set-up.js';

t.test(
  'breakLayouts: pins on one partition never delay the other of the same device',
  async (t) => {
    const first = await setUpLayouts();
    const { pgmap, waiters, clock, pageFreeLatency } = first;
    const second = new Layouts({
      device: { pgmap, waiters },
      clock,
      ids: { next: () => 'id' } as never,
      pageFreeLatency,
      onWaitEnded() {},
    });
    first.pin(0, 1024);
    const blocked = watch(first.layouts.breakLayouts(truncateOf(0, 1024)));
    const layout = await second.breakLayouts(truncateOf(1024, 1024));
    t.equal(layout.waitedMs, 0, 'the same inode number on the other partition');
    t.equal(second.pendingOver(12, 0, PAGE_SIZE), undefined);
    t.notOk(blocked.layout);
    first.unpin(0, 1024);
    await settle();
    t.ok(blocked.layout);
  },
);

t.test(
  'breakLayouts: two pinned pages, released lowest or highest first, end one wait',
  async (t) => {
    for (const [first = 0, last = 0] of [
      [2, 7],
      [7, 2],
    ]) {
      const { layouts, pin, unpin, clock, pageFreeLatency } = await setUpLayouts();
      pin(2);
      pin(7);
      const truncate = watch(layouts.breakLayouts(truncateOf(0, 10)));
      unpin(first);
      clock.ms += 5000;
      await settle();
      t.notOk(truncate.layout, `page ${last} is pinned still`);
      unpin(last);
      await settle();
      t.ok(truncate.layout);
      t.equal(pageFreeLatency.count, 1, 'once a wait');
      t.equal(pageFreeLatency.sumSeconds, 0, 'from the last put');
    }
  },
);

t.test('breakLayouts: with nothing pinned it does not wait', async (t) => {
  const { layouts, waits, pageFreeLatency } = await setUpLayouts();
  const layout = await layouts.breakLayouts(truncateOf(0, 10));
  t.equal(layout.waitedMs, 0);
  layout.lift();
  t.strictSame(waits, ['truncate done 0']);
  t.equal(pageFreeLatency.count, 0, 'no page was awaited');
});

t.test('breakLayouts: waits for the pin, and tells how long and how fast', async (t) => {
  const { layouts, pin, unpin, clock, waits, waiters, pageFreeLatency } = await setUpLayouts();
  pin(3);
  const truncate = watch(layouts.breakLayouts(truncateOf(0, 10)));
  await settle();
  t.notOk(truncate.layout);
  clock.ms += 2500;
  unpin(3);
  clock.ms += 2;
  await settle();
  t.equal(truncate.layout?.waitedMs, 2502);
  t.equal(pageFreeLatency.count, 1);
  t.equal(pageFreeLatency.sumSeconds, 0.002, 'from the put to the waiter running');
  t.strictSame(waits, ['truncate done 2.502']);
  t.strictSame(waiters.wakeups, { useful: 1, spurious: 0 });
  truncate.layout?.lift();
  t.strictSame([...layouts.pending], []);
});

t.test('breakLayouts: 3 -> 2 lets nothing pass', async (t) => {
  const { layouts, pin, unpin, waiters } = await setUpLayouts();
  pin(2);
  pin(2);
  const truncate = watch(layouts.breakLayouts(truncateOf(0, 10)));
  unpin(2);
  await settle();
  t.notOk(truncate.layout);
  t.strictSame(waiters.wakeups, { useful: 0, spurious: 0 });
  unpin(2);
  await settle();
  t.ok(truncate.layout);
});

t.test('breakLayouts: a block pin and a page pin, in either order, both have to go', async (t) => {
  for (const blockFirst of [true, false]) {
    const { layouts, pin, unpin, waiters } = await setUpLayouts();
    pin(512, 512);
    pin(600);
    const truncate = watch(layouts.breakLayouts(truncateOf(600, 1)));
    if (blockFirst) unpin(512, 512);
    else unpin(600);
    await settle();
    t.notOk(truncate.layout);
    t.strictSame(waiters.wakeups, { useful: 0, spurious: 0 });
    if (blockFirst) unpin(600);
    else unpin(512, 512);
    await settle();
    t.ok(truncate.layout);
    t.strictSame(waiters.wakeups, { useful: 1, spurious: 0 });
  }
});

t.test('breakLayouts: scans again from the start after each wait', async (t) => {
  const { layouts, pin, unpin } = await setUpLayouts();
  pin(7);
  const truncate = watch(layouts.breakLayouts(truncateOf(0, 10)));
  pin(1);
  unpin(7);
  await settle();
  t.notOk(truncate.layout, 'page 1 was idle in the first scan');
  unpin(1);
  await settle();
  t.ok(truncate.layout);
});

t.test('breakLayouts: a page pinned again before the waiter ran is awaited again', async (t) => {
  const { layouts, pin, unpin, waiters } = await setUpLayouts();
  pin(7);
  const truncate = watch(layouts.breakLayouts(truncateOf(0, 10)));
  unpin(7);
  pin(7);
  await settle();
  t.notOk(truncate.layout);
  t.strictSame(waiters.wakeups, { useful: 0, spurious: 1 });
  unpin(7);
  await settle();
  t.ok(truncate.layout);
});

t.test('breakLayouts: asks for the pages anew in each scan', async (t) => {
  const { layouts, pin, unpin } = await setUpLayouts();
  pin(2);
  pin(900);
  let moved = false;
  const pages = (): { firstPfn: number; count: number }[] => [
    { firstPfn: moved ? 900 : 2, count: 1 },
  ];
  const truncate = watch(layouts.breakLayouts(truncateOf(0, 1, { pages })));
  moved = true;
  unpin(2);
  await settle();
  t.notOk(truncate.layout);
  unpin(900);
  await settle();
  t.ok(truncate.layout);
});

t.test('breakLayouts: a pin outside the pages delays nothing', async (t) => {
  const { layouts, pin } = await setUpLayouts();
  pin(10, 2000);
  const layout = await layouts.breakLayouts(truncateOf(0, 10));
  t.equal(layout.waitedMs, 0);
});

t.test('assertIdle: holds between the wait and the lift, and not after', async (t) => {
  const { layouts } = await setUpLayouts();
  const layout = await layouts.breakLayouts(truncateOf(0, 10));
  layout.assertIdle();
  layout.lift();
  t.throws(() => {
    layout.assertIdle();
  }, InvariantError);
});

t.test('assertIdle: a page that another file of damaged media pinned is refused', async (t) => {
  const { layouts, pin, unpin } = await setUpLayouts();
  const layout = await layouts.breakLayouts(truncateOf(0, 10));
  pin(9);
  t.throws(
    () => {
      layout.assertIdle();
    },
    { code: 'EUCLEAN', message: /inode 12 is refused: page 9 is pinned through another file/ },
  );
  unpin(9);
  layout.assertIdle();
});

t.test('lift: twice is once', async (t) => {
  const { layouts } = await setUpLayouts();
  const first = await layouts.breakLayouts(truncateOf(0, 10));
  const second = watch(layouts.breakLayouts(truncateOf(0, 10)));
  const third = watch(layouts.breakLayouts(truncateOf(0, 10)));
  first.lift();
  first.lift();
  await settle();
  t.ok(second.layout);
  first.lift();
  await settle();
  t.notOk(third.layout, 'a late lift of the first does not lift the second');
});
