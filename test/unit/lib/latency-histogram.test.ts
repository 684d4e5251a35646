import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { LatencyHistogram } from '../../../src/lib/latency-histogram.js';

t.test('observe: a value on a bound belongs to that bound, as in Prometheus', async (t) => {
  const histogram = new LatencyHistogram([1, 2]);
  for (const seconds of [0.5, 1, 1.5, 2, 3]) histogram.observe(seconds);
  t.strictSame([...histogram.counts], [2, 2, 1]);
  t.equal(histogram.count, 5);
  t.equal(histogram.sumSeconds, 8);
});

t.test('constructor: bounds that do not ascend break an invariant', async (t) => {
  t.throws(() => new LatencyHistogram([1, 1]), InvariantError);
});
