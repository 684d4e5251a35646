import t from 'tap';
import type { BlockRun } from '../../../../src/fs/block-run.js';

import { planMkfs } from '../../../../src/fs/ext4/mkfs-geometry.js';
import type { MkfsGeometry } from '../../../../src/fs/ext4/mkfs-geometry.js';
import { GIB, MIB, PAGE_SIZE, TIB } from '../../../../src/lib/units.js';

function runsOf(geometry: MkfsGeometry): BlockRun[] {
  const { groups, rootDirectory, lostAndFound, orphanFile, journal } = geometry;
  const ofGroups = groups.flatMap((group) => [
    group.superCopy,
    { start: group.blockBitmap, count: 1 },
    { start: group.inodeBitmap, count: 1 },
    group.inodeTable,
  ]);
  return [...ofGroups, rootDirectory, lostAndFound, orphanFile, journal];
}

t.test('planMkfs: nothing overlaps and nothing passes the end', async (t) => {
  for (const sizeBytes of [8 * MIB, 9 * MIB + 4096, 127 * MIB, 130 * MIB, GIB, 2 * GIB, 3 * TIB]) {
    const geometry = planMkfs(sizeBytes);
    const runs = runsOf(geometry)
      .filter(({ count }) => count > 0)
      .toSorted((a, b) => a.start - b.start);
    const end = runs.reduce((last, { start, count }) => {
      if (start < last) t.fail(`${sizeBytes}: block ${start} is given twice`);
      return start + count;
    }, 0);
    t.ok(end <= geometry.blocks && geometry.blocks * PAGE_SIZE <= sizeBytes, `${sizeBytes} bytes`);
    t.equal(geometry.inodesPerGroup % 16, 0);
  }
});

t.test('planMkfs: a last group without room of its own is dropped', async (t) => {
  t.equal(planMkfs(130 * MIB).groups.length, 1);
  t.equal(planMkfs(160 * MIB).groups.length, 2);
});

t.test('planMkfs: under 8 MiB is EINVAL', async (t) => {
  t.throws(() => planMkfs(8 * MIB - 1), { code: 'EINVAL', name: 'DaxdError' });
  t.equal(planMkfs(8 * MIB).journal.count, 1024, 'the smallest journal of jbd2');
});
