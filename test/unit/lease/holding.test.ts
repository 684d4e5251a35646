import t from 'tap';

import { eachPinned, holdingOf, rangesOf, runsIn } from '../../../src/lease/holding.js';
import type { Pieces } from '../../../src/lease/holding.js';

const P = 4096;
const ASKED = { offset: P + 1, length: 2 * P };
const ALL_RANGES = [ASKED];
const ONE_RUN = [{ offset: P, deviceOffset: 50 * P, length: 3 * P }];

function pinned(pieces: Pieces): [number, number][] {
  const told: [number, number][] = [];
  eachPinned(ASKED, holdingOf(ASKED, pieces), (offset, length) => {
    told.push([offset, length]);
  });
  return told;
}

t.test('holdingOf: all of it in one run is where that begins', async (t) => {
  const holding = holdingOf(ASKED, { ranges: ALL_RANGES, runs: ONE_RUN });
  t.equal(holding, 50 * P);
  t.strictSame(rangesOf(ASKED, holding), [ASKED]);
  t.strictSame(runsIn(ASKED, holding), ONE_RUN);
});

const PIECES: Record<string, Pieces> = {
  'a part of the bytes': { ranges: [{ offset: P + 1, length: P }], runs: ONE_RUN },
  'two ranges': {
    ranges: [
      { offset: P + 1, length: 1 },
      { offset: P + 9, length: 1 },
    ],
    runs: ONE_RUN,
  },
  'a run that is shorter': {
    ranges: ALL_RANGES,
    runs: [{ offset: P, deviceOffset: 50 * P, length: 2 * P }],
  },
  'a run that starts later': {
    ranges: ALL_RANGES,
    runs: [{ offset: 2 * P, deviceOffset: 50 * P, length: 2 * P }],
  },
  'several runs': {
    ranges: ALL_RANGES,
    runs: [
      { offset: P, deviceOffset: 50 * P, length: P },
      { offset: 3 * P, deviceOffset: 9 * P, length: P },
    ],
  },
  'a hole': { ranges: ALL_RANGES, runs: [] },
  nothing: { ranges: [], runs: [] },
};

for (const [what, pieces] of Object.entries(PIECES)) {
  t.test(`holdingOf: ${what} stays in pieces`, async (t) => {
    const holding = holdingOf(ASKED, pieces);
    t.equal(holding, pieces);
    t.equal(rangesOf(ASKED, holding), pieces.ranges);
    t.equal(runsIn(ASKED, holding), pieces.runs);
  });
}

t.test('eachPinned: tells the pages, neighbours in the file as one', async (t) => {
  t.strictSame(pinned({ ranges: ALL_RANGES, runs: ONE_RUN }), [[P, 3 * P]]);
  const runs = [
    { offset: P, deviceOffset: 50 * P, length: P },
    { offset: 2 * P, deviceOffset: 9 * P, length: P },
  ];
  t.strictSame(pinned({ ranges: ALL_RANGES, runs }), [[P, 2 * P]]);
  t.strictSame(pinned({ ranges: [], runs: [] }), []);
});
