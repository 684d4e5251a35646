import t from 'tap';

import { missingBlocks, nodeSizes } from '../../../../src/fs/ext4/extent-levels.js';
import type { IndexLevel, TreeLevels } from '../../../../src/fs/ext4/extent-levels.js';
import type { Extent } from '../../../../src/fs/ext4/extent.js';

function sum(sizes: readonly number[]): number {
  return sizes.reduce((total, size) => total + size, 0);
}

t.test('nodeSizes: as few nodes as hold them, none too full to grow', async (t) => {
  t.strictSame(nodeSizes(0, 3, false), [], 'no node for nothing');
  t.strictSame(nodeSizes(1, 1, false), [1]);
  t.strictSame(nodeSizes(340, 1, false), [340], 'a full node stays');
  t.strictSame(nodeSizes(341, 1, false), [170, 171], 'a split in the middle');
  t.strictSame(nodeSizes(341, 1, true), [340, 1], 'a split at the end of the file');
  t.strictSame(nodeSizes(900, 2, true), [340, 340, 220]);
  t.strictSame(nodeSizes(300, 2, false), [150, 150], 'two that would make one too full stay two');
  t.strictSame(nodeSizes(200, 2, false), [200], 'two that fit well become one');
  for (let count = 1; count < 3000; count += 37) {
    for (const nodes of [0, 1, 2, 5]) {
      const sizes = nodeSizes(count, nodes, nodes % 2 === 1);
      t.equal(sum(sizes), count);
      t.ok(sizes.every((size) => size > 0 && size <= 340));
    }
  }
});

function levels(extents: number, leaves: number, indexes: readonly [number, number][]): TreeLevels {
  const extent: Extent = { logical: 0, physical: 1, length: 1, unwritten: false };
  return {
    leaves: {
      blocks: Array.from({ length: leaves }, () => 9),
      items: Array.from({ length: extents }, () => extent),
      isLast: true,
    },
    indexes: indexes.map(([entries, blocks], i): IndexLevel => ({
      blocks: Array.from({ length: blocks }, () => 9),
      items: Array.from({ length: entries }, () => ({ logical: 0, block: 9 })),
      isLast: true,
      depth: indexes.length - i,
      first: 0,
      end: 1,
      to: 10,
    })),
  };
}

t.test('missingBlocks: what splitting takes, up to a new root', async (t) => {
  t.equal(missingBlocks(levels(4, 0, [])), 0, 'the root has room');
  t.equal(missingBlocks(levels(5, 0, [])), 1, 'the root becomes an index');
  t.equal(missingBlocks(levels(340, 1, [[1, 0]])), 0);
  t.equal(missingBlocks(levels(341, 1, [[1, 0]])), 1, 'one more leaf');
  t.equal(missingBlocks(levels(341, 1, [[4, 0]])), 2, 'and a level more');
  t.equal(
    missingBlocks(
      levels(341, 1, [
        [1, 0],
        [340, 1],
      ]),
    ),
    2,
    'a leaf, and an index node beside the full one',
  );
  t.equal(missingBlocks(levels(340 * 5, 0, [])), 6, 'five leaves are too many for a root');
});
