import * as fc from 'fast-check';
import t from 'tap';

import { joinRuns, pinRuns, unpinPages, unpinRuns } from '../../../src/lease/page-runs.js';
import type { PageRun } from '../../../src/lease/page-runs.js';
import { coalesce, subtract } from '../../../src/lease/byte-ranges.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { MIB, PAGE_SIZE, PMD_SIZE } from '../../../src/lib/units.js';
import { setUpLeases } from './set-up.js';
import { testSeed, times } from '../../support/random-test.js';

const seed = testSeed(t);
const P = PAGE_SIZE;

t.test('joinRuns: joins only what is adjacent in the file and on the media', async (t) => {
  t.strictSame(
    joinRuns([
      { offset: 0, deviceOffset: 10 * P, length: P },
      { offset: P, deviceOffset: 11 * P, length: P },
      { offset: 2 * P, deviceOffset: 30 * P, length: P },
      { offset: 5 * P, deviceOffset: 31 * P, length: P },
    ]),
    [
      { offset: 0, deviceOffset: 10 * P, length: 2 * P },
      { offset: 2 * P, deviceOffset: 30 * P, length: P },
      { offset: 5 * P, deviceOffset: 31 * P, length: P },
    ],
  );
  t.throws(() => joinRuns([{ offset: 1, deviceOffset: 0, length: P }]), InvariantError);
});

t.test('pinRuns: all or nothing', async (t) => {
  const { memremap, pinnedPages } = await setUpLeases();
  const inside = { offset: 0, deviceOffset: 8 * MIB, length: 3 * P };
  const outside = { offset: 3 * P, deviceOffset: 64 * MIB, length: P };
  t.throws(
    () => {
      pinRuns(memremap, [inside, outside]);
    },
    new DaxdError('ENXIO', 'page 16384 is on no device that takes new pins'),
  );
  t.equal(pinnedPages(), 0, 'what was pinned is given back');
  pinRuns(memremap, [inside]);
  t.equal(pinnedPages(), 3);
  unpinRuns(memremap, [inside]);
  t.equal(pinnedPages(), 0);
});

t.test('unpinPages: a block pinned whole that loses a page keeps the other 511', async (t) => {
  const { memremap, pinnedPages } = await setUpLeases();
  const runs = [{ offset: 0, deviceOffset: 8 * MIB, length: 2 * PMD_SIZE }];
  pinRuns(memremap, runs);
  t.equal(pinnedPages(), 1024);
  const kept = unpinPages(memremap, runs, [{ offset: 5 * P, length: P }]);
  t.equal(pinnedPages(), 1023);
  t.strictSame(kept, [
    { offset: 0, deviceOffset: 8 * MIB, length: 5 * P },
    { offset: 6 * P, deviceOffset: 8 * MIB + 6 * P, length: 2 * PMD_SIZE - 6 * P },
  ]);
  unpinRuns(memremap, kept);
  t.equal(pinnedPages(), 0);
});

t.test(
  'unpinPages: cuts over several runs, in random order, leave the pages outside',
  async (t) => {
    const { memremap, pgmap, pinnedPages } = await setUpLeases();
    const SPAN = 3 * 512;
    const cut = fc.record({
      offset: fc.integer({ min: 0, max: SPAN }).map((page) => page * P),
      length: fc.integer({ min: 1, max: 700 }).map((pages) => pages * P),
    });
    // Three runs, apart on the media; the last leaves a hole before it.
    const runs: PageRun[] = [
      { offset: 0, deviceOffset: 8 * MIB, length: 700 * P },
      { offset: 700 * P, deviceOffset: 16 * MIB + P, length: 600 * P },
      { offset: 1310 * P, deviceOffset: 24 * MIB, length: 700 * P },
    ];
    fc.assert(
      fc.property(fc.array(fc.array(cut, { maxLength: 4 }), { maxLength: 4 }), (rounds) => {
        pinRuns(memremap, runs);
        let kept = runs;
        let left = coalesce(runs);
        for (const cuts of rounds.map((round) => coalesce(round))) {
          kept = unpinPages(memremap, kept, cuts);
          left = subtract(left, cuts);
          const bytes = left.reduce((sum, { length }) => sum + length, 0);
          const busy = kept.every(({ deviceOffset, length }) => {
            const first = deviceOffset / P - pgmap.firstPfn;
            return pgmap.refs.pinnedPages(first, length / P) === length / P;
          });
          if (!busy || pinnedPages() !== bytes / P) return false;
          if (JSON.stringify(coalesce(kept)) !== JSON.stringify(left)) return false;
        }
        unpinRuns(memremap, kept);
        return pinnedPages() === 0;
      }),
      { seed, numRuns: times(60) },
    );
    t.pass(`seed ${seed}`);
  },
);
