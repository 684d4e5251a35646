import t from 'tap';

import { DaxdError } from '../../../src/lib/errno.js';
import { PageWaiters } from '../../../src/mm/page-waiters.js';
import { settle } from '../../support/settle.js';
import { Interrupt, StillClock } from './set-up.js';

function setUp(): { clock: StillClock; waiters: PageWaiters; busy: Set<number> } {
  const clock = new StillClock();
  return { clock, waiters: new PageWaiters(clock), busy: new Set([7]) };
}

t.test('waitVarEvent: settles at the wake of its page, with the time of the wake', async (t) => {
  const { clock, waiters, busy } = setUp();
  const waited = waiters.waitVarEvent(7, () => !busy.has(7));
  t.equal(waiters.size, 1);
  clock.ms = 2000;
  busy.delete(7);
  waiters.wakeUpVar(7);
  clock.ms = 3000;
  t.equal(await waited, 2000);
  t.equal(waiters.size, 0, 'nothing is left behind');
  t.strictSame(waiters.wakeups, { useful: 1, spurious: 0 });
});

t.test('waitVarEvent: does not wait for what holds already', async (t) => {
  const { waiters } = setUp();
  t.equal(await waiters.waitVarEvent(7, () => true), undefined);
  t.equal(waiters.size, 0);
  t.strictSame(waiters.wakeups, { useful: 0, spurious: 0 });
});

t.test('waitVarEvent: registers before it tests, so a wake in between is not lost', async (t) => {
  const { waiters } = setUp();
  let tests = 0;
  const waited = waiters.waitVarEvent(7, () => {
    tests++;
    if (tests === 1) waiters.wakeUpVar(7);
    return tests === 2;
  });
  t.equal(await waited, 1000);
});

t.test('waitVarEvent: a wake without the event counts as spurious and goes on', async (t) => {
  const { clock, waiters, busy } = setUp();
  let settled = false;
  const waited = waiters
    .waitVarEvent(7, () => !busy.has(7))
    .then((ms) => {
      settled = true;
      return ms;
    });
  waiters.wakeUpVar(7);
  await settle();
  t.notOk(settled);
  t.strictSame(waiters.wakeups, { useful: 0, spurious: 1 });
  clock.ms = 5000;
  busy.delete(7);
  waiters.wakeUpVar(7);
  t.equal(await waited, 5000);
  t.strictSame(waiters.wakeups, { useful: 1, spurious: 1 });
});

t.test('wakeUpVar: wakes all waiters of its page and none of another', async (t) => {
  const { waiters } = setUp();
  const woken: string[] = [];
  const wait = (name: string, pfn: number): Promise<unknown> => {
    let tests = 0;
    return waiters.waitVarEvent(pfn, () => ++tests > 1).then(() => woken.push(name));
  };
  const waits = [wait('a', 7), wait('b', 7), wait('same block', 8), wait('other block', 519)];
  waiters.wakeUpVar(7);
  await settle();
  t.strictSame(woken, ['a', 'b']);
  waiters.wakeUpVar(8);
  waiters.wakeUpVar(519);
  waiters.wakeUpVar(9);
  await Promise.all(waits);
  t.equal(waiters.size, 0);
});

t.test('waitVarEvent: an abort ends it with its reason and leaves nothing', async (t) => {
  const { waiters, busy } = setUp();
  const interrupt = new Interrupt();
  const waited = waiters.waitVarEvent(7, () => !busy.has(7), interrupt);
  const reason = new DaxdError('draining', 'shutting down');
  interrupt.abort(reason);
  t.equal(await waited.catch((error: unknown) => error), reason);
  t.equal(waiters.size, 0);
  t.equal(interrupt.port, undefined, 'nobody is to be told any more');
  t.strictSame(waiters.wakeups, { useful: 0, spurious: 0 }, 'an abort is no wake');
});

t.test('waitVarEvent: an abort that came before ends it as well', async (t) => {
  const { waiters } = setUp();
  const interrupt = new Interrupt();
  interrupt.abort();
  await t.rejects(
    waiters.waitVarEvent(7, () => false, interrupt),
    { code: 'cancelled' },
  );
  t.equal(waiters.size, 0);
});

t.test(
  'waitVarEvent: what holds already beats a pending abort, before and after a sleep',
  async (t) => {
    const { waiters, busy } = setUp();
    const early = new Interrupt();
    early.abort();
    t.equal(await waiters.waitVarEvent(7, () => true, early), undefined);

    const interrupt = new Interrupt();
    const waited = waiters.waitVarEvent(7, () => !busy.has(7), interrupt);
    interrupt.abort();
    busy.delete(7);
    waiters.wakeUpVar(7);
    t.equal(await waited, 1000, 'the page went idle before the waiter ran');
    t.equal(waiters.size, 0);
  },
);

t.test('waitVarEvent: a condition that throws leaves nothing behind', async (t) => {
  const { waiters } = setUp();
  const failed = waiters.waitVarEvent(7, () => {
    throw new DaxdError('EIO', 'no');
  });
  await t.rejects(failed, { code: 'EIO' });
  t.equal(waiters.size, 0);
});

t.test('waitVarEvent: one of two waiters of a page leaves, the other stays', async (t) => {
  const { waiters, busy } = setUp();
  const interrupt = new Interrupt();
  const leaves = waiters.waitVarEvent(7, () => !busy.has(7), interrupt);
  const stays = waiters.waitVarEvent(7, () => !busy.has(7));
  interrupt.abort();
  await t.rejects(leaves, DaxdError);
  t.equal(waiters.size, 1);
  busy.delete(7);
  waiters.wakeUpVar(7);
  await stays;
  t.equal(waiters.size, 0);
});
