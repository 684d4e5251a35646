import * as fc from 'fast-check';
import t from 'tap';

import { coalesce, pagesCovering, subtract } from '../../../src/lease/byte-ranges.js';
import type { ByteRange } from '../../../src/lib/byte-range.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { testSeed } from '../../support/random-test.js';

const seed = testSeed(t);
const ranges = fc.array(
  fc.record({ offset: fc.integer({ min: 0, max: 60 }), length: fc.integer({ min: 1, max: 20 }) }),
  { maxLength: 8 },
);

function bytesOf(list: readonly ByteRange[]): Set<number> {
  const bytes = new Set<number>();
  for (const { offset, length } of list) for (let i = 0; i < length; i++) bytes.add(offset + i);
  return bytes;
}

function isDisjointAscending(list: readonly ByteRange[]): boolean {
  return list.every(({ length, offset }, i) => {
    const next = list[i + 1];
    return length > 0 && (next === undefined || offset + length < next.offset);
  });
}

t.test('coalesce: ranges that touch or overlap become one', async (t) => {
  t.strictSame(
    coalesce([
      { offset: 8, length: 4 },
      { offset: 0, length: 4 },
      { offset: 4, length: 2 },
      { offset: 9, length: 1 },
    ]),
    [
      { offset: 0, length: 6 },
      { offset: 8, length: 4 },
    ],
  );
  t.strictSame(coalesce([]), []);
});

t.test('subtract: a cut may lie inside, over an edge, over several, or nowhere', async (t) => {
  const held = [
    { offset: 0, length: 10 },
    { offset: 20, length: 10 },
  ];
  t.strictSame(subtract(held, [{ offset: 2, length: 3 }]), [
    { offset: 0, length: 2 },
    { offset: 5, length: 5 },
    { offset: 20, length: 10 },
  ]);
  t.strictSame(subtract(held, [{ offset: 5, length: 20 }]), [
    { offset: 0, length: 5 },
    { offset: 25, length: 5 },
  ]);
  t.strictSame(subtract(held, [{ offset: 0, length: 100 }]), []);
  t.strictSame(subtract(held, [{ offset: 12, length: 3 }]), held);
});

t.test('coalesce, subtract: the same bytes as a set of bytes has', async (t) => {
  fc.assert(
    fc.property(ranges, ranges, (a, b) => {
      const held = coalesce(a);
      const cut = coalesce(b);
      const rest = subtract(held, cut);
      const cutBytes = bytesOf(b);
      const expected = [...bytesOf(a)].filter((byte) => !cutBytes.has(byte));
      return (
        isDisjointAscending(held) &&
        isDisjointAscending(rest) &&
        expected.length === bytesOf(rest).size &&
        expected.every((byte) => bytesOf(rest).has(byte))
      );
    }),
    { seed },
  );
  t.pass(`seed ${seed}`);
});

t.test('pagesCovering: rounds outward, and neighbours on one page are one', async (t) => {
  t.strictSame(
    pagesCovering([
      { offset: 1, length: 1 },
      { offset: PAGE_SIZE - 1, length: 1 },
      { offset: 2 * PAGE_SIZE, length: PAGE_SIZE },
      { offset: 5 * PAGE_SIZE - 1, length: 2 },
    ]),
    [
      { offset: 0, length: PAGE_SIZE },
      { offset: 2 * PAGE_SIZE, length: PAGE_SIZE },
      { offset: 4 * PAGE_SIZE, length: 2 * PAGE_SIZE },
    ],
  );
});
