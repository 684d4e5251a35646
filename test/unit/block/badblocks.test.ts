import t from 'tap';

import { Badblocks } from '../../../src/block/badblocks.js';

t.test('check: finds what shares a byte, and nothing beside it', async (t) => {
  const badblocks = new Badblocks({ start: 1000, length: 1000 });
  badblocks.set({ start: 1100, length: 10 });
  t.strictSame(badblocks.check({ start: 1109, length: 1 }), { start: 1100, length: 10 });
  t.equal(badblocks.check({ start: 1110, length: 100 }), undefined);
  t.equal(badblocks.check({ start: 0, length: 1100 }), undefined);
});

t.test('set: keeps only what lies in the window', async (t) => {
  const badblocks = new Badblocks({ start: 1000, length: 1000 });
  badblocks.set({ start: 900, length: 200 });
  badblocks.set({ start: 1990, length: 50 });
  badblocks.set({ start: 0, length: 1000 });
  badblocks.set({ start: 2000, length: 1 });
  t.equal(badblocks.count, 2);
  t.strictSame(badblocks.check({ start: 0, length: 5000 }), { start: 1000, length: 100 });
  t.strictSame(badblocks.check({ start: 1995, length: 1 }), { start: 1990, length: 10 });
});
