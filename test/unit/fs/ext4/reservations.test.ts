import t from 'tap';

import { testBit } from '../../../../src/fs/ext4/bitmap.js';
import { Reservations } from '../../../../src/fs/ext4/reservations.js';
import { InvariantError } from '../../../../src/lib/assert.js';

t.test('add: across groups, and remove in other pieces', async (t) => {
  const reservations = new Reservations({ blocksPerGroup: 2048 });
  reservations.add({ start: 2000, count: 3000 });
  t.equal(reservations.count, 3000);
  const counts = [0, 1, 2, 3].map((group) => {
    const bits = reservations.bits(group);
    return bits && Array.from({ length: 2048 }, (_, i) => testBit(bits, i)).filter(Boolean).length;
  });
  t.strictSame(counts, [48, 2048, 904, undefined]);
  reservations.remove({ start: 2048, count: 2952 });
  t.equal(reservations.bits(1), undefined, 'an empty group takes no memory');
  reservations.remove({ start: 2000, count: 48 });
  t.equal(reservations.count, 0);
});

t.test('add, remove: a block is reserved once and let go once', async (t) => {
  const reservations = new Reservations({ blocksPerGroup: 2048 });
  reservations.add({ start: 10, count: 5 });
  t.throws(() => {
    reservations.add({ start: 14, count: 1 });
  }, InvariantError);
  t.throws(() => {
    reservations.remove({ start: 15, count: 1 });
  }, InvariantError);
  t.throws(() => {
    reservations.remove({ start: 5000, count: 1 });
  }, InvariantError);
});
