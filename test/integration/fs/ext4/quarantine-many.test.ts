import t from 'tap';

import { PAGE_SIZE } from '../../../../src/lib/units.js';
import { requires } from '../../../support/requires.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs'] };
const P = PAGE_SIZE;

t.test('truncate, deferred: every other one of many pages is pinned', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await openImage(newImage(t, ['-m', '0']));
  const { fs, pin, unpin, volume } = open;
  const pages = 3200;
  const inode = await fs.create('a');
  await fs.fallocate(inode, 0, pages * P, { keepSize: false });
  const at = fs
    .extents(inode)
    .flatMap(({ mediaOffset, length }) =>
      Array.from({ length: length / P }, (_, page) => mediaOffset + page * P),
    )
    .filter((_, page) => page % 2 === 1);
  for (const offset of at) pin(offset, P);
  const half = (pages / 2) * P;
  const result = await fs.truncate(inode, 0, { defer: true });
  t.match(result, { quarantinedBytes: half, freedBytes: half });
  t.match(fs.stat(inode), { size: 0, blocks: 0 });
  t.strictSame(
    fs.quarantine.extents(),
    at.toSorted((a, b) => a - b).map((mediaOffset) => ({ mediaOffset, length: P })),
  );
  for (const offset of at) unpin(offset, P);
  for (const offset of at.filter((_, i) => i % 2 === 0)) await fs.quarantine.release(offset, P);
  t.equal(fs.quarantine.bytes, half / 2);
  t.equal(volume.reservations.count, 0);
  await closeClean(t, open);
});
