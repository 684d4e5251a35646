import t from 'tap';

import type { Cell } from '../../bench/nbd/cells.js';
import { compare } from '../../bench/nbd/comparison.js';
import type { Series } from '../../bench/nbd/rounds.js';

const CELL: Cell = {
  name: 'any',
  unit: 'ops/s',
  work: '100k ops',
  run: async () => ({ rate: 1, work: 1 }),
};

/** Nine rounds of one server, `cpuSeconds` each for one unit of work. */
function series(server: string, rates: readonly number[], cpuSeconds: number): Series {
  return { cell: CELL, server, samples: rates.map((rate) => ({ rate, work: 1, cpuSeconds })) };
}

/** Nine rounds at one rate, but for the last. */
function steady(rate: number, last = rate): number[] {
  return [...Array.from({ length: 8 }, () => rate), last];
}

t.test('the best peer is that with the best median, whoever won single rounds', async (t) => {
  const comparison = compare(CELL, [
    series('daxd', steady(150), 2),
    series('nbdkit file', steady(100), 1),
    series('qemu-nbd', steady(50, 1000), 4),
  ]);
  t.equal(comparison.bestPeer, 'nbdkit file');
  t.equal(comparison.ratio, 1.5);
  t.equal(comparison.counted, 1.5);
  t.equal(comparison.thriftiestPeer, 'nbdkit file');
  t.equal(comparison.cpuRatio, 2);
});

t.test('an interval that includes 1 counts as 1, one that does not as it is', async (t) => {
  const peer = series('nbdkit file', steady(100), 1);
  const mixed = compare(CELL, [series('daxd', [80, 85, 90, 90, 95, 95, 99, 101, 120], 1), peer]);
  t.equal(mixed.ratio, 0.95);
  t.equal(mixed.counted, 1, '0.85 to 1.01');
  const behind = compare(CELL, [series('daxd', [80, 85, 90, 90, 95, 95, 99, 99, 120], 1), peer]);
  t.equal(behind.counted, 0.95, '0.85 to 0.99');
});
