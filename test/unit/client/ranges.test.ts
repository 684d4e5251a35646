import * as fc from 'fast-check';
import t from 'tap';

import { areRanges, clipExtents, without } from '../../../src/client/ranges.js';
import { testSeed } from '../../support/random-test.js';

interface Range {
  readonly offset: number;
  readonly length: number;
}

function bytesOf(ranges: readonly Range[]): number[] {
  return ranges.flatMap(({ offset, length }) => Array.from({ length }, (_, i) => offset + i));
}

t.test('without: the bytes that the cut has not', async (t) => {
  const range = fc.record({ offset: fc.nat(40), length: fc.nat(20) });
  fc.assert(
    fc.property(fc.array(range), (cut) => {
      const held = [
        { offset: 3, length: 20 },
        { offset: 30, length: 10 },
      ];
      const gone = new Set(bytesOf(cut));
      const rest = without(held, cut);
      t.strictSame(
        bytesOf(rest),
        bytesOf(held).filter((byte) => !gone.has(byte)),
      );
      t.ok(rest.every(({ length }) => length > 0));
    }),
    { seed: testSeed(t) },
  );
});

t.test('clipExtents: what is left, where it lies', async (t) => {
  const extents = [
    { file_offset: 0, device_offset: 1000, length: 10 },
    { file_offset: 20, device_offset: 500, length: 10 },
  ];
  const left = [
    { offset: 2, length: 3 },
    { offset: 8, length: 14 },
  ];
  t.strictSame(clipExtents(extents, left), [
    { file_offset: 2, device_offset: 1002, length: 3 },
    { file_offset: 8, device_offset: 1008, length: 2 },
    { file_offset: 20, device_offset: 500, length: 2 },
  ]);
  t.strictSame(clipExtents(extents, []), []);
});

t.test('areRanges: whole bytes, 0 or more', async (t) => {
  t.equal(areRanges([{ offset: 0, length: 0 }]), true);
  for (const range of [
    { offset: -1, length: 1 },
    { offset: 0, length: -1 },
    { offset: 0.5, length: 1 },
    { offset: 0, length: NaN },
    { offset: Number.MAX_SAFE_INTEGER, length: 1 },
  ]) {
    t.equal(areRanges([{ offset: 0, length: 1 }, range]), false, JSON.stringify(range));
  }
});
