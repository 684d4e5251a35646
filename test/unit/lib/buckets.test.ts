import t from 'tap';

import { Buckets } from '../../../src/lib/buckets.js';

t.test('items stand under their keys, in the order in which they came', async (t) => {
  const buckets = new Buckets<number, string>();
  for (const item of ['b', 'a', 'c']) buckets.add(7, item);
  buckets.add(9, 'd');
  t.strictSame([...buckets.of(7)], ['b', 'a', 'c']);
  t.strictSame([...buckets.of(8)], []);
  t.strictSame([...buckets.all()], ['b', 'a', 'c', 'd']);
  t.equal(buckets.size, 4);
});

t.test('delete: says whether the item was there, and the key takes items again', async (t) => {
  const buckets = new Buckets<number, string>();
  buckets.add(7, 'a');
  buckets.add(9, 'b');
  t.notOk(buckets.delete(7, 'b'), 'it stands under another key');
  t.notOk(buckets.delete(8, 'a'));
  t.ok(buckets.delete(7, 'a'));
  t.notOk(buckets.delete(7, 'a'), 'it is gone');
  t.ok(buckets.delete(9, 'b'));
  t.equal(buckets.size, 0);
  t.strictSame([...buckets.all()], []);
  t.strictSame([...buckets.of(9)], [], 'the last key has none');

  buckets.add(9, 'c');
  buckets.add(7, 'd');
  t.strictSame([...buckets.all()].toSorted(), ['c', 'd']);
  t.ok(buckets.delete(9, 'c'));
  t.strictSame([...buckets.all()], ['d']);
});
