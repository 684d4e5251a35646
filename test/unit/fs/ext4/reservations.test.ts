import t from 'tap';

import { testBit } from '../../../../src/fs/ext4/bitmap.js';
import { Reservations } from '../../../../src/fs/ext4/reservations.js';
import { InvariantError } from '../../../../src/lib/assert.js';

t.test('add: across groups, and remove in other pieces', async (t) => {
  const reservations = new Reservations(2048);
  reservations.add(2000, 3000);
  t.equal(reservations.count, 3000);
  const counts = [0, 1, 2, 3].map((group) => {
    const bits = reservations.bits(group);
    return bits && Array.from({ length: 2048 }, (_, i) => testBit(bits, i)).filter(Boolean).length;
  });
  t.strictSame(counts, [48, 2048, 904, undefined]);
  reservations.remove(2048, 2952);
  t.equal(reservations.bits(1), undefined, 'an empty group takes no memory');
  reservations.remove(2000, 48);
  t.equal(reservations.count, 0);
});

t.test('add, remove: a block is reserved once and let go once', async (t) => {
  const reservations = new Reservations(2048);
  reservations.add(10, 5);
  t.throws(() => {
    reservations.add(14, 1);
  }, InvariantError);
  t.throws(() => {
    reservations.remove(15, 1);
  }, InvariantError);
  t.throws(() => {
    reservations.remove(5000, 1);
  }, InvariantError);
});
