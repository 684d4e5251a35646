import t from 'tap';

import { BlockKind, blockRole, BufferCache } from '../../../../src/fs/ext4/buffer-cache.js';

function numbered(): { cache: BufferCache; loads: number[] } {
  const loads: number[] = [];
  const cache = new BufferCache((blockNumber) => {
    loads.push(blockNumber);
    return Buffer.alloc(4096, blockNumber % 256);
  });
  return { cache, loads };
}

t.test('get: loads a block once, and again when it was dropped', async (t) => {
  const { cache, loads } = numbered();
  t.equal(cache.get(5), cache.get(5));
  t.strictSame(loads, [5]);
  cache.drop(5);
  t.equal(cache.get(5).bytes[0], 5);
  t.strictSame(loads, [5, 5]);
});

t.test('get: keeps what is in use, lets the rest go', async (t) => {
  const { cache, loads } = numbered();
  cache.get(1);
  for (let block = 10_000; block < 40_000; block++) {
    cache.get(block);
    cache.get(1);
  }
  cache.get(2);
  loads.length = 0;
  cache.get(1);
  t.strictSame(loads, [], 'the one that was used all the time is there');
  cache.get(10_000);
  t.strictSame(loads, [10_000], 'the one that was used once is not');
});

t.test('change: stays until it is clean, whatever else is read', async (t) => {
  const { cache, loads } = numbered();
  const bytes = Buffer.alloc(4096, 0xee);
  cache.change(1, bytes, { role: blockRole(BlockKind.ExtentNode, 7), parts: 3 });
  for (let block = 10_000; block < 30_000; block++) cache.get(block);
  t.equal(cache.get(1).bytes, bytes);
  t.equal(cache.get(1).role, blockRole(BlockKind.ExtentNode, 7));
  t.equal(cache.get(1).verifiedParts, 3);
  cache.clean(1, Buffer.alloc(4096));
  for (let block = 10_000; block < 30_000; block++) cache.get(block);
  t.equal(cache.get(1).bytes, bytes, 'an older version in place says nothing');
  cache.clean(1, bytes);
  for (let block = 10_000; block < 30_000; block++) cache.get(block);
  loads.length = 0;
  t.equal(cache.get(1).bytes[0], 1);
  t.strictSame(loads, [1]);
});

t.test('dropChanges: reads show the media again', async (t) => {
  const { cache } = numbered();
  cache.change(1, Buffer.alloc(4096, 0xee), { role: 0, parts: 0 });
  const kept = cache.get(2);
  cache.dropChanges();
  t.equal(cache.get(1).bytes[0], 1);
  t.equal(cache.get(2), kept);
});
