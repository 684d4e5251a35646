import t from 'tap';

import { Tombstones } from '../../../src/lease/tombstones.js';

t.test('add: remembers the last few and forgets the oldest first', async (t) => {
  const tombstones = new Tombstones<{ id: string }>(2);
  for (const id of ['a', 'b', 'c']) tombstones.add({ id });
  t.equal(tombstones.size, 2);
  t.equal(tombstones.get('a'), undefined);
  t.strictSame(tombstones.get('b'), { id: 'b' });
  t.strictSame(tombstones.get('c'), { id: 'c' });
  t.equal(tombstones.get('never'), undefined);
});

t.test('add: goes around the bound many times', async (t) => {
  const tombstones = new Tombstones<{ id: string }>(3);
  for (let i = 0; i < 100; i++) tombstones.add({ id: String(i) });
  t.equal(tombstones.size, 3);
  t.strictSame(
    ['96', '97', '98', '99'].map((id) => tombstones.get(id)?.id),
    [undefined, '97', '98', '99'],
  );
});
