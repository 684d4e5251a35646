import t from 'tap';

import {
  clipExtents,
  convertExtents,
  countBlocks,
  cutExtents,
  holesOf,
  joinExtents,
  layRuns,
} from '../../../../src/fs/ext4/extent.js';
import type { Extent } from '../../../../src/fs/ext4/extent.js';

function extent(logical: number, physical: number, length: number, unwritten = false): Extent {
  return { logical, physical, length, unwritten };
}

const LIST = [extent(2, 100, 4), extent(6, 200, 2, true), extent(10, 300, 5)];

t.test('clipExtents: the parts inside', async (t) => {
  t.strictSame(clipExtents(LIST, { from: 0, to: Infinity }), LIST);
  t.strictSame(clipExtents(LIST, { from: 3, to: 7 }), [extent(3, 101, 3), extent(6, 200, 1, true)]);
  t.strictSame(clipExtents(LIST, { from: 8, to: 10 }), []);
  t.strictSame(clipExtents(LIST, { from: 7, to: 3 }), [], 'an empty span');
});

t.test('cutExtents: the parts outside', async (t) => {
  t.strictSame(cutExtents(LIST, { from: 3, to: 11 }), [extent(2, 100, 1), extent(11, 301, 4)]);
  t.strictSame(cutExtents(LIST, { from: 0, to: Infinity }), []);
  t.strictSame(cutExtents(LIST, { from: 8, to: 10 }), LIST);
});

t.test('holesOf: what no extent covers', async (t) => {
  t.strictSame(holesOf(LIST, { from: 0, to: 20 }), [
    { from: 0, to: 2 },
    { from: 8, to: 10 },
    { from: 15, to: 20 },
  ]);
  t.strictSame(holesOf(LIST, { from: 3, to: 8 }), []);
  t.strictSame(holesOf([], { from: 3, to: 8 }), [{ from: 3, to: 8 }]);
});

t.test('joinExtents: neighbours on both sides, of one kind', async (t) => {
  t.strictSame(joinExtents([extent(4, 12, 1), extent(0, 8, 4), extent(5, 13, 1)]), [
    extent(0, 8, 6),
  ]);
  const apart = [extent(0, 8, 4), extent(4, 13, 1), extent(6, 14, 1), extent(7, 15, 1, true)];
  t.strictSame(joinExtents(apart), [
    extent(0, 8, 4),
    extent(4, 13, 1),
    extent(6, 14, 1),
    extent(7, 15, 1, true),
  ]);
});

t.test('convertExtents: splits and joins', async (t) => {
  const written = convertExtents(LIST, { from: 6, to: 7 }, 'written');
  t.strictSame(written, [
    extent(2, 100, 4),
    extent(6, 200, 1),
    extent(7, 201, 1, true),
    extent(10, 300, 5),
  ]);
  t.strictSame(convertExtents(written, { from: 6, to: 7 }, 'unwritten'), LIST);
});

t.test('layRuns, countBlocks: runs one behind the other', async (t) => {
  const laid = layRuns(
    [
      { start: 50, count: 3 },
      { start: 9, count: 1 },
    ],
    20,
    'unwritten',
  );
  t.strictSame(laid, [extent(20, 50, 3, true), extent(23, 9, 1, true)]);
  t.equal(countBlocks(laid), 4);
});
