import t from 'tap';

import { nearExtents, NO_BLOCKS, spanOf, subtractExtents } from '../../../../src/fs/ext4/extent.js';
import type { Extent } from '../../../../src/fs/ext4/extent.js';

function extent(logical: number, length: number, physical = logical + 1000): Extent {
  return { logical, physical, length, unwritten: false };
}

t.test('subtractExtents: parts at both ends, in the middle, and whole ones', async (t) => {
  const extents = [extent(0, 10), extent(20, 5), extent(30, 10), extent(50, 1)];
  const gone = [extent(0, 2), extent(4, 2), extent(9, 1), extent(20, 5), extent(38, 2)];
  t.strictSame(subtractExtents(extents, gone), [
    extent(2, 2),
    extent(6, 3),
    extent(30, 8),
    extent(50, 1),
  ]);
  t.strictSame(subtractExtents(extents, []), extents);
  t.strictSame(subtractExtents(extents, extents), []);
});

t.test('nearExtents: neighbours together, far ones apart, none too many', async (t) => {
  const near = [extent(0, 1), extent(513, 1), extent(1000, 10)];
  const far = [extent(2000, 1)];
  t.strictSame(nearExtents([...near, ...far]), [near, far]);
  t.strictSame(nearExtents([]), []);
  const many = Array.from({ length: 1500 }, (_, i) => extent(2 * i, 1));
  t.strictSame(
    nearExtents(many).map(({ length }) => length),
    [1024, 476],
  );
  t.strictSame(spanOf(near), { from: 0, to: 1010 });
  t.strictSame(spanOf([]), NO_BLOCKS);
});
