import t from 'tap';

import { renewalDelayMs } from '../../../src/client/renewal.js';

t.test('renewalDelayMs: a third of the ttl, or a little earlier', async (t) => {
  t.equal(renewalDelayMs(30_000, 30_000, 0), 10_000);
  t.equal(renewalDelayMs(30_000, 30_000, 1), 9_000);
  for (let i = 0; i < 100; i++) {
    const delayMs = renewalDelayMs(30_000, 30_000);
    t.ok(delayMs >= 9_000 && delayMs <= 10_000, `${delayMs}`);
  }
});

t.test(
  'renewalDelayMs: a reserve before the end where less is left, and never in a loop',
  async (t) => {
    t.equal(renewalDelayMs(30_000, 5_000, 0), 4_000);
    t.equal(renewalDelayMs(1_000, 500, 0), 250, 'a quarter of a short ttl');
    t.equal(renewalDelayMs(30_000, 900, 0), 50);
    t.equal(renewalDelayMs(30_000, 0, 0), 50);
  },
);
