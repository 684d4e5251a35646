import t from 'tap';

import { pageOf } from '../../../src/http/page.js';

const ITEMS = Array.from({ length: 250 }, (_, i) => ({ id: String(i).padStart(3, '0'), long: i }));

t.test('page: as many as are asked for, and where the next one starts', async (t) => {
  t.strictSame(pageOf(ITEMS, 2), { items: ITEMS.slice(0, 2), nextCursor: '001' });
  t.match(pageOf(ITEMS), { items: ITEMS.slice(0, 100), nextCursor: '099' }, 'not all unasked');
  t.strictSame(pageOf(ITEMS, 250), { items: ITEMS }, 'nothing is behind the last one');
  t.strictSame(pageOf([], 2), { items: [] });
});

t.test('page: few of those that are long, and one of them at least', async (t) => {
  const page = pageOf(ITEMS, 250, () => 10_000);
  t.strictSame(page, { items: ITEMS.slice(0, 2), nextCursor: '001' });
  t.equal(pageOf(ITEMS, 250, () => 1_000_000).items.length, 1);
});
