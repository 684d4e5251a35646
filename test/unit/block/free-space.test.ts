import t from 'tap';

import { findSpace, type Space } from '../../../src/block/free-space.js';
import { MIB } from '../../../src/lib/units.js';

const space: Space = { dataOffset: 0, firstByte: 17408, endByte: 64 * MIB - 16896, taken: [] };

t.test('findSpace: the whole disk starts on 2 MiB and ends on a page', async (t) => {
  t.strictSame(findSpace(space), { startBytes: 2 * MIB, sizeBytes: 62 * MIB - 20480 });
});

t.test('findSpace: starts are aligned in the backing, not in the disk', async (t) => {
  const shifted = findSpace({ ...space, dataOffset: MIB });
  t.equal(shifted.startBytes, MIB);
  t.equal((shifted.startBytes + MIB) % (2 * MIB), 0);
});

t.test('findSpace: the first stretch that holds the size, the largest without one', async (t) => {
  const taken = [
    { startBytes: 20 * MIB, sizeBytes: 4096 },
    { startBytes: 2 * MIB, sizeBytes: 8 * MIB },
  ];
  const crowded = { ...space, taken };
  t.match(findSpace(crowded, 10 * MIB), { startBytes: 10 * MIB, sizeBytes: 10 * MIB });
  t.match(findSpace(crowded, 11 * MIB), { startBytes: 22 * MIB });
  t.match(findSpace(crowded), { startBytes: 22 * MIB, sizeBytes: 42 * MIB - 20480 });
});

t.test('findSpace: ENOSPC names the largest stretch', async (t) => {
  t.throws(() => findSpace(space, 63 * MIB), { code: 'ENOSPC', message: /64991232 bytes/ });
  const full = [{ startBytes: 0, sizeBytes: 64 * MIB }];
  t.throws(() => findSpace({ ...space, taken: full }), { code: 'ENOSPC' });
});

t.test('findSpace: EINVAL for a size that is no positive number of pages', async (t) => {
  for (const size of [0, -4096, 4095, 512, 1.5, NaN, 2 ** 53]) {
    t.throws(() => findSpace(space, size), { code: 'EINVAL' }, `${size}`);
  }
});
