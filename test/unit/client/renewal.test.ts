import t from 'tap';

import { Renewal, renewalDelayMs } from '../../../src/client/renewal.js';
import { settle } from '../../support/settle.js';
import { HandClock } from '../lease/set-up.js';

/** How far time goes at once, in milliseconds. */
const STEP_MS = 1;

/** A renewal of one lease, granted just now, and when it tried and told the end of the ttl. */
function startRenewal(ttlMs: number, renew: () => Promise<number>) {
  const clock = new HandClock();
  const startMs = clock.nowMs();
  const tries: number[] = [];
  const lapses: number[] = [];
  const renewal = new Renewal(ttlMs, {
    clock,
    setPromptTimer: (fire, delayMs) => clock.setTimer(fire, delayMs),
    renew: async () => {
      tries.push(clock.nowMs() - startMs);
      return renew();
    },
    failed: () => true,
    lapsed: () => lapses.push(clock.nowMs() - startMs),
  });
  renewal.granted(startMs, ttlMs);
  /** Lets time go on, and what comes of it happen. */
  const pass = async (ms: number): Promise<void> => {
    for (let step = 0; step < ms; step += STEP_MS) {
      clock.advance(STEP_MS);
      await settle();
    }
  };
  return { renewal, clock, tries, lapses, pass };
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
  const { tries, lapses, pass } = startRenewal(1_800, swallowed);
  await pass(1_799);
  t.strictSame(lapses, []);
  await pass(2_201);
  t.equal(tries.length, 1, 'under way still');
  t.strictSame(lapses, [1_800]);
});

t.test('Renewal: tries again with longer pauses, and goes on behind the ttl', async (t) => {
  const { tries, lapses, pass } = startRenewal(1_500, async () => {
    throw new Error('no daemon');
  });
  await pass(9_000);
  t.strictSame(lapses, [1_500], 'told once');
  const pauses = tries.slice(1).map((ms, i) => Math.floor(ms - (tries[i] ?? 0)));
  t.strictSame(pauses.slice(0, 7), [50, 100, 200, 400, 800, 1_600, 2_000]);
});

t.test(
  'Renewal: nothing is told once it was stopped, nor of a lease that was renewed',
  async (t) => {
    const stopped = startRenewal(1_500, swallowed);
    const renewed = startRenewal(1_500, async () => 1_500);
    stopped.renewal.stop();
    await stopped.pass(3_500);
    await renewed.pass(3_500);
    t.strictSame([stopped.lapses, renewed.lapses], [[], []]);
    t.strictSame([stopped.tries, stopped.clock.timers], [[], 0]);
    t.ok(renewed.tries.length > 6, `${renewed.tries.length} renewals`);
  },
);

t.test('Renewal: a grant that was long in coming is renewed before anything is told', async (t) => {
  const { renewal, clock, tries, lapses, pass } = startRenewal(9_000, async () => 9_000);
  renewal.granted(clock.nowMs() - 18_000, 9_000);
  await pass(1_000);
  t.strictSame([tries, lapses], [[50], []]);
});

t.test('Renewal: one that is asked for while another is under way follows it', async (t) => {
  const answers: ((remainingMs: number) => void)[] = [];
  const { renewal, tries, pass } = startRenewal(
    30_000,
    async () => new Promise((resolve) => answers.push(resolve)),
  );
  renewal.now();
  await pass(100);
  renewal.now();
  await pass(100);
  t.equal(tries.length, 1, 'one at a time');
  answers.shift()?.(30_000);
  await pass(200);
  t.equal(tries.length, 2);
  answers.shift()?.(30_000);
  await pass(200);
  t.equal(tries.length, 2, 'and no more than that');
});
