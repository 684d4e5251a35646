import t from 'tap';

import { partitionPoint } from '../../../src/lib/partition-point.js';

t.test('partitionPoint: as a look at one after the other finds it', (t) => {
  for (let count = 0; count < 20; count++) {
    const items = Array.from({ length: count }, (_, i) => 2 * i);
    for (let place = -1; place <= 2 * count; place++) {
      const found = partitionPoint(items, (item) => item <= place);
      t.equal(found, items.filter((item) => item <= place).length, `${count} items, ${place}`);
    }
  }
  t.end();
});
