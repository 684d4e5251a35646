import t from 'tap';

import { LeaseRoll } from '../../../src/lease/lease-roll.js';
import { InvariantError } from '../../../src/lib/assert.js';

const named = (number: number): { id: string } => ({ id: String(number).padStart(6, '0') });

t.test('after: ascending from the first after an id, which need not be there', async (t) => {
  const roll = new LeaseRoll();
  const items = [10, 20, 30].map(named);
  for (const item of items) roll.add(item);
  t.strictSame([...roll.after('')], items);
  t.strictSame([...roll.after('000010')], items.slice(1));
  t.strictSame([...roll.after('000015')], items.slice(1));
  t.strictSame([...roll.after('000030')], []);
});

t.test('get: what is there, and nothing that is not or has left', async (t) => {
  const roll = new LeaseRoll<{ id: string }>();
  const items = [10, 20, 30].map(named);
  for (const item of items) roll.add(item);
  for (const item of items) {
    t.equal(roll.get(item.id), item);
    roll.delete(item);
    t.equal(roll.get(item.id), undefined);
  }
  for (const id of ['', '000015', '000099']) t.equal(roll.get(id), undefined);
});

t.test('add: an id that does not sort last breaks', async (t) => {
  const roll = new LeaseRoll();
  roll.add(named(2));
  t.throws(() => {
    roll.add(named(1));
  }, InvariantError);
  t.throws(() => {
    roll.add(named(2));
  }, InvariantError);
});

t.test('restore: as if added one by one, and nothing of the list given is kept', async (t) => {
  const roll = new LeaseRoll<{ id: string }>();
  const items = [10, 20, 30].map(named);
  roll.restore(items);
  items.pop();
  t.equal(roll.size, 3);
  roll.add(named(40));
  roll.delete(items[0] ?? named(0));
  t.strictSame([...roll.after('')], [20, 30, 40].map(named));
  t.throws(() => {
    roll.restore([named(50)]);
  }, InvariantError);
  for (const wrong of [
    [2, 1],
    [2, 2],
  ]) {
    t.throws(() => {
      new LeaseRoll().restore(wrong.map(named));
    }, InvariantError);
  }
});

t.test('delete: what is left stays in order, through many gaps', async (t) => {
  const roll = new LeaseRoll<{ id: string }>();
  const items = Array.from({ length: 1000 }, (_, i) => named(i));
  for (const item of items) roll.add(item);
  for (const [i, item] of items.entries()) if (i % 10 !== 3) roll.delete(item);
  t.equal(roll.size, 100);
  t.strictSame(
    [...roll.after('')],
    items.filter((_, i) => i % 10 === 3),
  );
  roll.add(named(5000));
  t.strictSame([...roll.after('000993')], [named(5000)]);
  t.throws(
    () => {
      roll.delete(named(0));
    },
    InvariantError,
    'it left already',
  );
});
