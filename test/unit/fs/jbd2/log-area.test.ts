import t from 'tap';

import { LogArea } from '../../../../src/fs/jbd2/log-area.js';
import { InvariantError } from '../../../../src/lib/assert.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { MemoryBacking } from '../../../support/memory-backing.js';

const BLOCK = 4096;

function newArea(blocks: number, runs: readonly { start: number; count: number }[]) {
  const persisted: [number, number][] = [];
  const backing = new MemoryBacking(blocks * BLOCK, {
    onPersist: (offset, length) => {
      persisted.push([offset / BLOCK, length / BLOCK]);
    },
  });
  const range = new BackingRange(backing, 0, blocks * BLOCK);
  return { area: new LogArea(range, runs), range, persisted };
}

t.test('LogArea: runs side by side are one, others stay in the order of the log', async (t) => {
  const { area, range, persisted } = newArea(40, [
    { start: 20, count: 2 },
    { start: 22, count: 3 },
    { start: 10, count: 1 },
    { start: 9, count: 1 },
    { start: 30, count: 4 },
  ]);
  t.equal(area.blocks, 11);
  t.match(area.runs, [
    { start: 20, count: 5 },
    { start: 10, count: 1 },
    { start: 9, count: 1 },
    { start: 30, count: 4 },
  ]);
  const homes = [20, 21, 22, 23, 24, 10, 9, 30, 31, 32, 33];
  for (const [index, home] of homes.entries()) {
    area.write(index, Buffer.from([index + 1]));
    const byte = Buffer.alloc(1);
    range.read(home * BLOCK, byte);
    t.equal(byte[0], index + 1, `log block ${index} is block ${home}`);
  }
  for (let block = 0; block < 40; block++) t.equal(area.contains(block), homes.includes(block));
  t.throws(() => area.read(11), InvariantError);

  await area.persist(3, 6);
  t.strictSame(persisted, [
    [23, 2],
    [10, 1],
    [9, 1],
    [30, 2],
  ]);
});

t.test('LogArea: as many runs as blocks are no slower to go through', async (t) => {
  // Block by block and backwards, so that no two can be one.
  const count = 65_536;
  const runs = Array.from({ length: count }, (_, i) => ({ start: count - i, count: 1 }));
  const { area } = newArea(1, runs);
  const start = process.cpuUsage();
  for (let block = 0; block <= count; block++) area.contains(block);
  for (let block = 0; block < count; block++) await area.persist(block, 0);
  const { user } = process.cpuUsage(start);
  t.ok(user < 1_000_000, `${user} us, where a walk for each takes minutes`);
});
