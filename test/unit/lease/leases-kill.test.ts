/** Daemons that are killed right behind the answer to a renewal, before the store hears of it. */
import t from 'tap';

import { RESTART_GRACE_MS } from '../../../src/lease/limits.js';
import { runs } from './restarts.js';
import { ask } from './set-up.js';

t.test('renew, kill: restarts that come fast leave a holder what it renewed', async (t) => {
  for (const [pauseMs, ttlMs] of [
    [3_000, RESTART_GRACE_MS],
    [1_000, 2_000],
    [20_000, 60_000],
  ] as const) {
    const { clock, start } = runs();
    const { leases } = await start();
    const lease = await leases.acquire(ask({ ttlMs }));
    clock.advance(1);
    for (let passedMs = 0; passedMs < 4 * RESTART_GRACE_MS; passedMs += pauseMs) {
      clock.kill();
      const next = await start();
      const held = next.leases.get(lease.id);
      t.equal(held.state, 'reclaimable');
      const graceMs = Math.min(ttlMs, RESTART_GRACE_MS);
      t.ok(held.deadlineMs >= clock.nowMs() + graceMs, `${passedMs} of ${ttlMs}`);
      clock.advance(pauseMs);
      t.equal(next.leases.get(lease.id).state, 'reclaimable');
      next.leases.renew(lease.id);
    }
  }
});

t.test('renew, kill: a lease that had lapsed and was renewed has not lapsed', async (t) => {
  const { clock, start } = runs();
  const { leases } = await start();
  const lease = await leases.acquire(ask({ ttlMs: 60_000 }));
  clock.advance(60_000);
  t.equal(lease.state, 'suspect');
  clock.kill();
  const next = await start();
  clock.advance(RESTART_GRACE_MS);
  t.equal(next.leases.get(lease.id).state, 'suspect');
  next.leases.renew(lease.id);
  clock.advance(500);
  clock.kill();
  const last = await start();
  const held = last.leases.get(lease.id);
  t.equal(held.state, 'reclaimable');
  t.ok(held.deadlineMs >= clock.nowMs() + 59_500, 'what was left of its ttl');
});

t.test('kill: a lease that is not renewed is over, however fast the restarts come', async (t) => {
  const { clock, start } = runs();
  const { leases } = await start();
  const lease = await leases.acquire(ask({ ttlMs: 60_000 }));
  let set = await start();
  for (let passedMs = 0; passedMs < 80_000; passedMs += 1_000) {
    clock.kill();
    set = await start();
    clock.advance(1_000);
  }
  t.equal(set.leases.get(lease.id).state, 'suspect');
});

t.test('renew, kill: what came just before has at most the lag of the notes', async (t) => {
  const { clock, start } = runs();
  const { leases } = await start();
  const lease = await leases.acquire(ask({ ttlMs: 600_000 }));
  clock.advance(100_000);
  leases.renew(lease.id);
  clock.advance(4_000);
  leases.renew(lease.id);
  clock.advance(4_000);
  leases.renew(lease.id);
  clock.kill();
  const next = await start();
  t.ok(next.leases.get(lease.id).deadlineMs >= clock.nowMs() + 600_000);
});
