import { getEventListeners } from 'node:events';

import t from 'tap';

import { DaxdError } from '../../../src/lib/errno.js';
import { settle } from '../../support/settle.js';
import { setUpLayouts, truncateOf, watch, type LaidOutPages } from './set-up.js';

/** Ways to end a wait from outside, each with the code it ends with. */
const EXITS: Record<string, [string, (set: LaidOutPages, abort: AbortController) => void]> = {
  abort: ['cancelled', (_, abort) => abort.abort()],
  cancel: ['cancelled', ({ layouts }) => [...layouts.pending].at(-1)?.cancel()],
  drain: ['draining', ({ layouts }) => layouts.drain()],
  'device removal': ['ENXIO', ({ device }) => void device.devres.releaseAll()],
};
const OUTCOME: Record<string, string> = { ENXIO: 'failed' };

for (const [exit, [code, act]] of Object.entries(EXITS)) {
  t.test(`breakLayouts: ${exit} while it waits for a page leaves nothing behind`, async (t) => {
    const set = await setUpLayouts();
    const listeners = getEventListeners(set.pgmap.removal, 'abort');
    const abort = new AbortController();
    set.pin(3);
    const truncate = watch(set.layouts.breakLayouts(truncateOf(0, 10, { signal: abort.signal })));
    await settle();
    set.clock.ms += 500;
    act(set, abort);
    await settle();
    t.match(truncate.error, { code });
    t.equal(set.layouts.size, 0);
    t.equal(set.layouts.pendingOver(12, 0, Infinity), undefined, 'the barrier is down');
    t.equal(set.waiters.size, 0);
    t.strictSame(set.waits, [`truncate ${OUTCOME[code] ?? code} 0.5`]);
    t.equal(getEventListeners(abort.signal, 'abort').length, 0);
    t.strictSame(getEventListeners(set.pgmap.removal, 'abort'), listeners);
    t.equal(set.pgmap.refs.pinnedPages(0, 2048), 1, 'the pin is untouched');
    set.unpin(3);
  });

  t.test(`breakLayouts: ${exit} while it is queued leaves nothing behind`, async (t) => {
    const set = await setUpLayouts();
    const listeners = getEventListeners(set.pgmap.removal, 'abort');
    const abort = new AbortController();
    const first = await set.layouts.breakLayouts(truncateOf(0, 10));
    const queued = watch(set.layouts.breakLayouts(truncateOf(5, 10, { signal: abort.signal })));
    await settle();
    act(set, abort);
    await settle();
    t.match(queued.error, { code });
    t.equal(set.layouts.size, 1, 'the first commits on');
    t.equal(getEventListeners(abort.signal, 'abort').length, 0);
    first.assertIdle();
    first.lift();
    t.equal(set.layouts.size, 0);
    t.strictSame(getEventListeners(set.pgmap.removal, 'abort'), listeners);
  });
}

t.test('breakLayouts: one that is given up lets those behind it pass', async (t) => {
  const { layouts, pin, unpin } = await setUpLayouts();
  const abort = new AbortController();
  pin(3);
  const first = watch(layouts.breakLayouts(truncateOf(0, 10, { signal: abort.signal })));
  const middle = watch(layouts.breakLayouts(truncateOf(3, 10)));
  const last = watch(layouts.breakLayouts(truncateOf(8, 10)));
  await settle();
  [...layouts.pending][1]?.cancel();
  await settle();
  t.match(middle.error, { code: 'cancelled' });
  t.notOk(last.layout, 'it overlaps the first too');
  abort.abort();
  await settle();
  t.match(first.error, { code: 'cancelled' });
  t.ok(last.layout, 'its own pages are idle');
  last.layout?.lift();
  unpin(3);
  t.equal(layouts.size, 0);
});

t.test('breakLayouts: idle already beats a pending abort, and only then', async (t) => {
  const { layouts, pin, unpin } = await setUpLayouts();
  const signal = AbortSignal.abort();
  const layout = await layouts.breakLayouts(truncateOf(0, 10, { signal }));
  await t.rejects(layouts.breakLayouts(truncateOf(0, 10, { signal })), { code: 'cancelled' });
  layout.lift();

  pin(3);
  await t.rejects(layouts.breakLayouts(truncateOf(0, 10, { signal })), { code: 'cancelled' });
  const abort = new AbortController();
  const truncate = watch(layouts.breakLayouts(truncateOf(0, 10, { signal: abort.signal })));
  abort.abort();
  unpin(3);
  await settle();
  t.ok(truncate.layout, 'the page went idle before the waiter ran');
});

t.test('drain: later changes are refused, one that commits is left alone', async (t) => {
  const { layouts, waits } = await setUpLayouts();
  const layout = await layouts.breakLayouts(truncateOf(0, 10));
  layouts.drain();
  layouts.drain();
  await t.rejects(layouts.breakLayouts(truncateOf(20, 10)), { code: 'draining' });
  t.equal(layouts.size, 1);
  layout.assertIdle();
  layout.lift();
  t.strictSame(waits, ['truncate done 0', 'truncate draining 0']);
});

t.test('breakLayouts: refused on a dying pagemap, idle or not', async (t) => {
  const { layouts, ref, device } = await setUpLayouts();
  ref.kill();
  await t.rejects(layouts.breakLayouts(truncateOf(0, 10)), { code: 'ENXIO' });
  await device.devres.releaseAll();
  await t.rejects(layouts.breakLayouts(truncateOf(0, 10)), { code: 'ENXIO' });
  t.equal(layouts.size, 0);
});

t.test('breakLayouts: pages or onBarrierUp that fail take the barrier down again', async (t) => {
  let failure: Error | undefined;
  const { layouts, waits, pin, unpin, waiters } = await setUpLayouts({
    onBarrierUp: () => {
      if (failure !== undefined) throw failure;
    },
  });
  let scans = 0;
  const pages = (): { firstPfn: number; count: number }[] => {
    if (++scans === 2) throw new DaxdError('EBADMSG', 'extent block 77');
    return [{ firstPfn: 0, count: 1 }];
  };
  pin(0);
  const truncate = watch(layouts.breakLayouts(truncateOf(0, 1, { pages })));
  unpin(0);
  await settle();
  t.match(truncate.error, { code: 'EBADMSG' });
  failure = new DaxdError('EIO', 'no');
  await t.rejects(layouts.breakLayouts(truncateOf(0, 1)), { code: 'EIO' });
  t.equal(layouts.size, 0);
  t.equal(waiters.size, 0);
  t.strictSame(waits, ['truncate failed 0', 'truncate failed 0']);
});
t.test(
  'breakLayouts: an abort in the tick of its turn, before it ran, is given up once',
  async (t) => {
    const { layouts, pin, unpin } = await setUpLayouts();
    pin(8);
    const first = await layouts.breakLayouts(truncateOf(0, 7));
    const second = watch(layouts.breakLayouts(truncateOf(5, 10)));
    first.lift();
    [...layouts.pending][0]?.cancel();
    await settle();
    t.match(second.error, { code: 'cancelled' });
    t.equal(layouts.size, 0);
    unpin(8);
  },
);
