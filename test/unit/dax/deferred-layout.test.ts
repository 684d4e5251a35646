import t from 'tap';

import { pinnedRuns } from '../../../src/dax/pinned-runs.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { settle } from '../../support/settle.js';
import { setUpLayouts, truncateOf, watch } from './set-up.js';

t.test('breakLayouts, deferred: it does not wait, and tells what is pinned', async (t) => {
  const { layouts, pin, unpin, waits } = await setUpLayouts();
  pin(3, 2);
  pin(7);
  const layout = await layouts.breakLayouts(truncateOf(0, 10, { defer: true }));
  t.equal(layout.waitedMs, 0);
  t.strictSame(waits, ['truncate done 0']);
  t.match(layout.change, { defers: true, state: 'broken', inode: 12, op: 'truncate' });
  t.match(layouts.pendingOver(12, 0, 1), { id: layout.change.id }, 'the barrier is up');
  const runs = [
    { firstPfn: 3, count: 2 },
    { firstPfn: 7, count: 1 },
  ];
  t.strictSame(layout.pinnedIn({ firstPfn: 0, count: 10 }), runs);
  layout.assertIdle();
  layout.assertIdleRun({ firstPfn: 5, count: 2 });
  t.throws(() => layout.assertIdleRun({ firstPfn: 5, count: 3 }), { code: 'EUCLEAN' });
  unpin(7);
  layout.assertIdleRun({ firstPfn: 5, count: 3 });
  layout.lift();
  t.equal(layouts.size, 0);
  t.throws(() => layout.assertIdle(), InvariantError, 'nothing is freed after the lift');
});

t.test('breakLayouts, deferred: earlier changes of its bytes come first', async (t) => {
  const { layouts, pin, unpin } = await setUpLayouts();
  pin(0);
  const earlier = watch(layouts.breakLayouts(truncateOf(0, 1)));
  const deferred = watch(layouts.breakLayouts(truncateOf(0, 2, { defer: true })));
  const other = await layouts.breakLayouts(truncateOf(4, 2, { defer: true }));
  other.lift();
  t.equal(layouts.tryBreakLayouts(truncateOf(0, 2, { defer: true })), undefined);
  await settle();
  t.notOk(deferred.layout);
  const late = watch(layouts.breakLayouts(truncateOf(1, 1)));
  unpin(0);
  await settle();
  t.notOk(deferred.layout, 'until the earlier one is done');
  earlier.layout?.lift();
  await settle();
  t.ok(deferred.layout);
  t.notOk(late.layout, 'what came later waits for it');
  deferred.layout?.lift();
  await settle();
  t.ok(late.layout);
});

t.test('breakLayouts, deferred: cancelled while it waits for its turn', async (t) => {
  const { layouts, pin } = await setUpLayouts();
  pin(0);
  const earlier = watch(layouts.breakLayouts(truncateOf(0, 1)));
  const abort = new AbortController();
  const request = truncateOf(0, 1, { defer: true, signal: abort.signal });
  const deferred = watch(layouts.breakLayouts(request));
  abort.abort();
  await settle();
  t.match(deferred.error, { code: 'cancelled' });
  t.notOk(earlier.error);
  t.equal(layouts.size, 1);
});

t.test('tryBreakLayouts, deferred: over pinned pages too, not on a device that goes', async (t) => {
  const { layouts, pin, ref } = await setUpLayouts();
  pin(0);
  t.equal(layouts.tryBreakLayouts(truncateOf(0, 1)), undefined);
  const layout = layouts.tryBreakLayouts(truncateOf(0, 1, { defer: true }));
  t.strictSame(layout?.pinnedIn({ firstPfn: 0, count: 4 }), [{ firstPfn: 0, count: 1 }]);
  layout?.lift();
  ref.kill();
  t.equal(layouts.tryBreakLayouts(truncateOf(0, 1, { defer: true })), undefined);
  await t.rejects(layouts.breakLayouts(truncateOf(0, 1, { defer: true })), { code: 'ENXIO' });
});

t.test('breakLayouts: without deferring, no page counts as pinned in what it gives', async (t) => {
  const { layouts, pin } = await setUpLayouts();
  const layout = await layouts.breakLayouts(truncateOf(0, 1));
  pin(0);
  t.strictSame(layout.pinnedIn({ firstPfn: 0, count: 1 }), []);
  t.throws(() => layout.assertIdle(), { code: 'EUCLEAN' });
});

t.test('pinnedRuns: blocks pinned whole, and both ends', async (t) => {
  const { pgmap, pin } = await setUpLayouts();
  pin(512, 512);
  pin(1024);
  pin(2047);
  t.strictSame(pinnedRuns(pgmap, { firstPfn: 0, count: 2048 }), [
    { firstPfn: 512, count: 513 },
    { firstPfn: 2047, count: 1 },
  ]);
  t.strictSame(pinnedRuns(pgmap, { firstPfn: 600, count: 10 }), [{ firstPfn: 600, count: 10 }]);
  t.strictSame(pinnedRuns(pgmap, { firstPfn: 0, count: 512 }), []);
});
