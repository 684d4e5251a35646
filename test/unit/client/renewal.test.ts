import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { Renewal, renewalDelayMs } from '../../../src/client/renewal.js';
import { systemClock } from '../../../src/lib/clock.js';

/** A renewal of one lease, granted just now, and when it tried and told the end of the ttl. */
function startRenewal(t: Test, ttlMs: number, renew: () => Promise<number>) {
  const startMs = systemClock.nowMs();
  const sinceStart = (): number => systemClock.nowMs() - startMs;
  const tries: number[] = [];
  const lapses: number[] = [];
  const renewal = new Renewal(ttlMs, {
    renew: async () => {
      tries.push(sinceStart());
      return renew();
    },
    failed: () => true,
    lapsed: () => lapses.push(sinceStart()),
  });
  renewal.granted(startMs, ttlMs);
  t.teardown(() => {
    renewal.stop();
  });
  return { renewal, tries, lapses, sinceStart };
}

/** A renewal that the daemon swallows. */
const swallowed = async (): Promise<number> => new Promise(() => {});

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

t.test('Renewal: the end of the ttl is told in time, where a try has no answer', async (t) => {
  const { tries, lapses } = startRenewal(t, 1_800, swallowed);
  await sleep(4_000);
  t.equal(tries.length, 1, 'under way still');
  t.equal(lapses.length, 1);
  t.ok(
    lapses.every((ms) => ms >= 1_798 && ms < 4_000),
    `told after ${lapses.join(' ')} ms`,
  );
});

t.test(
  'Renewal: nothing is told once it was stopped, nor of a lease that was renewed',
  async (t) => {
    const stopped = startRenewal(t, 1_500, swallowed);
    const renewed = startRenewal(t, 1_500, async () => 1_500);
    stopped.renewal.stop();
    await sleep(3_500);
    t.strictSame([stopped.lapses, renewed.lapses], [[], []]);
  },
);

t.test('Renewal: a grant that was long in coming is renewed before anything is told', async (t) => {
  const { renewal, tries, lapses } = startRenewal(t, 9_000, async () => 9_000);
  renewal.granted(systemClock.nowMs() - 18_000, 9_000);
  await sleep(1_000);
  t.equal(tries.length, 1);
  t.strictSame(lapses, []);
});

t.test('Renewal: comes at once where the process stood still when it was due', async (t) => {
  const { tries, sinceStart } = startRenewal(t, 4_500, async () => 4_500);
  while (sinceStart() < 3_000);
  await sleep(500);
  t.equal(tries.length, 1);
  t.ok(
    tries.every((ms) => ms < 4_000),
    `renewed after ${tries.join(' ')} ms`,
  );
});

t.test('Renewal: one that is asked for while another is under way follows it', async (t) => {
  const answers: ((remainingMs: number) => void)[] = [];
  const { renewal, tries } = startRenewal(
    t,
    30_000,
    async () => new Promise((resolve) => answers.push(resolve)),
  );
  renewal.now();
  await sleep(100);
  renewal.now();
  await sleep(100);
  t.equal(tries.length, 1, 'one at a time');
  answers.shift()?.(30_000);
  await sleep(200);
  t.equal(tries.length, 2);
  answers.shift()?.(30_000);
  await sleep(200);
  t.equal(tries.length, 2, 'and no more than that');
});
