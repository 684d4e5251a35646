import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { EventRing } from '../../../src/lib/event-ring.js';

t.test('push: events have numbers from 1 on, and the oldest goes first', async (t) => {
  const ring = new EventRing('one', 3);
  t.equal(ring.last, 0);
  t.equal(ring.cursor(), 'one-0');
  for (const n of [1, 2, 3, 4]) ring.push('a', { n });
  t.equal(ring.last, 4);
  t.strictSame(ring.at(4), { name: 'a', fields: { n: 4 } });
  t.strictSame(ring.at(2), { name: 'a', fields: { n: 2 } });
  t.throws(() => ring.at(1), InvariantError, 'overwritten');
  t.throws(() => ring.at(5), InvariantError, 'not yet');
  t.equal(ring.keepsAllAfter(1), true);
  t.equal(ring.keepsAllAfter(0), false);
});

t.test('position: of a cursor of this ring behind which nothing is lost', async (t) => {
  const ring = new EventRing('one', 3);
  t.equal(ring.position('one-0'), 0);
  for (const n of [1, 2, 3, 4]) ring.push('a', { n });
  t.equal(ring.position(ring.cursor()), 4);
  t.equal(ring.position('one-1'), 1);
  for (const cursor of ['one-0', 'two-3', 'one-5', 'one', 'one-', 'one-1-1', 'one-1e0', '']) {
    t.equal(ring.position(cursor), undefined, cursor);
  }
});

t.test('watch: told within each push', async (t) => {
  const ring = new EventRing('one', 3);
  const seen: number[] = [];
  ring.watch(() => seen.push(ring.last));
  ring.push('a', {});
  ring.push('b', {});
  t.strictSame(seen, [1, 2]);
});
