import t from 'tap';

import { groupBy } from '../../../src/lib/group-by.js';

const parity = (value: number): string => (value % 2 === 0 ? 'even' : 'odd');

t.test('groupBy: in the order in which they come, keys and items', async (t) => {
  t.strictSame(
    [...groupBy([3, 1, 4, 1, 5, 9, 2, 6], parity)],
    [
      ['odd', [3, 1, 1, 5, 9]],
      ['even', [4, 2, 6]],
    ],
  );
  t.strictSame(
    [...groupBy([2, 3, 4], parity)],
    [
      ['even', [2, 4]],
      ['odd', [3]],
    ],
  );
});

t.test('groupBy: one group alone is what was given, and nothing has no group', async (t) => {
  const items = [1, 3, 5];
  t.equal(groupBy(items, parity).get('odd'), items);
  t.equal(groupBy([], parity).size, 0);
});
