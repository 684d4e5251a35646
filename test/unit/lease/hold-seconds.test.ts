import t from 'tap';

import { ask } from './set-up.js';
import { runs } from './restarts.js';

t.test('restore: how long a lease was held counts from its grant, over a reboot', async (t) => {
  const { start, clock } = runs();
  const { leases } = await start();
  const lease = await leases.acquire(ask());
  await leases.close();
  clock.advance(7_000);
  clock.reboot();
  const next = await start('boot-2');
  clock.advance(2_000);
  await next.leases.release(lease.id);
  t.equal(next.leases.counters.holdSeconds.sumSeconds, 9);
  const own = await next.leases.acquire(ask());
  clock.advance(0.5);
  await next.leases.release(own.id);
  t.equal(next.leases.counters.holdSeconds.sumSeconds, 9.0005, 'of its own it knows the fractions');
});
