import t from 'tap';

import { SortableIds } from '../../../src/lib/sortable-id.js';

t.test('next: ids ascend within a millisecond and when the wall clock steps back', async (t) => {
  let nowMs = 1_700_000_000_000;
  const ids = new SortableIds(() => nowMs);
  const made = [ids.next(), ids.next()];
  nowMs -= 60_000;
  made.push(ids.next());
  nowMs += 120_000;
  made.push(ids.next());
  t.strictSame(made.toSorted(), made);
  t.equal(new Set(made).size, made.length);
});

t.test('next: 26 digits of the ULID alphabet, the first ten the time', async (t) => {
  const id = new SortableIds(() => 1_469_918_176_385).next();
  t.match(id, /^[0-9A-HJKMNP-TV-Z]{26}$/);
  t.equal(id.slice(0, 10), '01ARYZ6S41', 'the time of the example in the ULID specification');
});
