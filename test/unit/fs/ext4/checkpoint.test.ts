import t from 'tap';

import { persistStores, storeInPlace } from '../../../../src/fs/ext4/checkpoint.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { MemoryBacking } from '../../../support/memory-backing.js';

interface Media {
  readonly range: BackingRange;
  readonly persisted: [number, number][];
  readonly block: (n: number) => Buffer;
}

function setUp(start = 0): Media {
  const persisted: [number, number][] = [];
  const backing = new MemoryBacking(16 * 4096, {
    onPersist: (offset, length) => {
      persisted.push([offset, length]);
    },
  });
  const range = new BackingRange(backing, start, backing.sizeBytes - start);
  return { range, persisted, block: (n) => range.view(n * 4096, 4096) };
}

for (const start of [0, 512 * 3]) {
  t.test(`storeInPlace: lines that differ, fresh blocks whole, from ${start} on`, async (t) => {
    const media = setUp(start);
    media.block(7).fill(9);
    const changed = Buffer.from(media.block(2));
    changed[100] = 1;
    changed[128] = 2;
    changed[4095] = 3;
    const blocks = new Map([
      [7, Buffer.alloc(4096)],
      [2, changed],
      [5, Buffer.from(media.block(5))],
    ]);
    const stores = storeInPlace(media.range, { blocks, isFresh: (block) => block === 7 });
    t.strictSame(stores, [
      { offset: 2 * 4096 + 64, length: 128 },
      { offset: 2 * 4096 + 4032, length: 64 },
      { offset: 7 * 4096, length: 4096 },
    ]);
    t.equal(media.block(2)[100], 1);
    t.equal(media.block(2)[4095], 3);
    t.ok(media.block(7).equals(Buffer.alloc(4096)));
  });
}

t.test('persistStores: what lies close together in one call', async (t) => {
  const media = setUp();
  await persistStores(media.range, [
    { offset: 0, length: 64 },
    { offset: 128, length: 64 },
    { offset: 4096, length: 4096 },
    { offset: 5 * 4096, length: 64 },
  ]);
  t.strictSame(media.persisted, [
    [0, 8192],
    [5 * 4096, 64],
  ]);
});
