import t from 'tap';

import { median, medianInterval } from '../../bench/nbd/statistics.js';
import { testSeed } from '../../support/random-test.js';
import { SeededRandom } from '../../support/seeded-random.js';

t.test('the median is the middle sample, or lies between both middle ones', async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 3, 2]), 2.5);
  t.throws(() => median([]));
});

t.test('the interval leaves out as many samples as the binomial table allows', async (t) => {
  // Ranks of the two-sided interval of a median at 95 %, as tables of the sign test give them.
  for (const [count, rank, percent] of [
    [6, 1, 96.9],
    [9, 2, 96.1],
    [15, 4, 96.5],
    [25, 8, 95.7],
  ] as const) {
    const samples = Array.from({ length: count }, (_, index) => count - index);
    const { low, high, coverage } = medianInterval(samples);
    t.same([low, high], [rank, count + 1 - rank], `${count} samples`);
    t.equal((coverage * 100).toFixed(1), `${percent}`);
  }
});

t.test('too few samples give all they have, and say with what probability', async (t) => {
  t.same(medianInterval([2, 1, 3]), { low: 1, high: 3, coverage: 0.75 });
});

t.test('the interval holds the median as often as it says', async (t) => {
  const random = new SeededRandom(testSeed(t));
  const trials = 2000;
  let held = 0;
  for (let trial = 0; trial < trials; trial++) {
    const { low, high } = medianInterval(Array.from({ length: 9 }, () => random.below(1_000_000)));
    if (low <= 500_000 && high >= 500_000) held++;
  }
  // Four standard deviations of 2,000 trials at 96.1 % are 1.7 %.
  t.ok(held / trials > 0.944 && held / trials < 0.978, `${held} of ${trials}`);
});
