import * as fc from 'fast-check';
import t from 'tap';

import { IntervalTree } from '../../../src/lease/interval-tree.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { testSeed, times } from '../../support/random-test.js';

const seed = testSeed(t);

t.test('overlapping: touching is not overlapping, and the end may be Infinity', async (t) => {
  const tree = new IntervalTree<string>();
  tree.add({ start: 10, end: 20, id: 'a', owner: 'a' });
  t.strictSame([...tree.overlapping(0, 10)], []);
  t.strictSame([...tree.overlapping(20, 30)], []);
  t.strictSame([...tree.overlapping(19, 30)], ['a']);
  t.strictSame([...tree.overlapping(0, Infinity)], ['a']);
});

t.test('delete: takes out one interval, and nothing where there is none', async (t) => {
  const tree = new IntervalTree<string>();
  tree.add({ start: 0, end: 9, id: 'a', owner: 'a' });
  tree.add({ start: 0, end: 9, id: 'b', owner: 'b' });
  t.equal(tree.delete(0, 'c'), false);
  t.equal(tree.size, 2);
  t.equal(tree.delete(0, 'a'), true);
  t.strictSame([...tree.overlapping(0, 9)], ['b']);
  t.equal(tree.size, 1);
});

t.test(
  'overlapping: finds what a walk over all finds, in order, through random changes',
  async (t) => {
    const step = fc.record({
      start: fc.integer({ min: 0, max: 200 }),
      length: fc.integer({ min: 1, max: 60 }),
      id: fc.integer({ min: 0, max: 5 }).map(String),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), step, (steps, query) => {
        const tree = new IntervalTree<string>();
        const naive = new Map<string, { start: number; end: number; id: string }>();
        for (const { start, length, id } of steps) {
          const key = `${start} ${id}`;
          // A second step at the same place deletes what the first added.
          if (naive.delete(key)) tree.delete(start, id);
          else {
            naive.set(key, { start, end: start + length, id });
            tree.add({ start, end: start + length, id, owner: key });
          }
        }
        const end = query.start + query.length;
        const expected = [...naive]
          .filter(([, interval]) => interval.start < end && interval.end > query.start)
          .toSorted(([, a], [, b]) =>
            a.start === b.start ? Number(a.id) - Number(b.id) : a.start - b.start,
          )
          .map(([key]) => key);
        return (
          tree.size === naive.size &&
          JSON.stringify([...tree.overlapping(query.start, end)]) === JSON.stringify(expected)
        );
      }),
      { seed, numRuns: times(500) },
    );
    t.pass(`seed ${seed}`);
  },
);

t.test('add: a long ascending run stays shallow enough to search and empty', async (t) => {
  const tree = new IntervalTree<number>();
  const count = 50_000;
  for (let i = 0; i < count; i++) tree.add({ start: i, end: i + 1, id: 'x', owner: i });
  t.strictSame([...tree.overlapping(count - 2, Infinity)], [count - 2, count - 1]);
  for (let i = 0; i < count; i++) tree.delete(i, 'x');
  t.equal(tree.size, 0);
});

t.test('build: the tree of what was added one by one, which goes on to change', async () => {
  const interval = fc.record({
    start: fc.integer({ min: 0, max: 50 }),
    length: fc.integer({ min: 1, max: 20 }),
    id: fc.integer({ min: 0, max: 9 }).map(String),
  });
  const distinct = fc.uniqueArray(interval, {
    selector: ({ start, id }) => `${start} ${id}`,
    maxLength: 60,
  });
  fc.assert(
    fc.property(distinct, fc.infiniteStream(fc.boolean()), (intervals, gone) => {
      const built = new IntervalTree<string>();
      const added = new IntervalTree<string>();
      const all = intervals.map(({ start, length, id }) => ({
        start,
        end: start + length,
        id,
        owner: `${start} ${id}`,
      }));
      built.build(all);
      for (const one of all) added.add(one);
      const isSame = (): boolean =>
        built.size === added.size &&
        [0, 10, 30, 60].every(
          (from) =>
            JSON.stringify([...built.overlapping(from, from + 15)]) ===
            JSON.stringify([...added.overlapping(from, from + 15)]),
        );
      if (!isSame()) return false;
      for (const { start, id } of all) {
        if (gone.next().value !== true) continue;
        if (!built.delete(start, id) || !added.delete(start, id)) return false;
      }
      const late = { start: 12, end: 40, id: 'late', owner: 'late' };
      built.add(late);
      added.add(late);
      return isSame();
    }),
    { seed, numRuns: times(500) },
  );
});

t.test('build: a long run stays shallow enough to search and empty', async (t) => {
  const tree = new IntervalTree<number>();
  const count = 50_000;
  tree.build(
    Array.from({ length: count }, (_, i) => ({ start: i, end: i + 1, id: 'x', owner: i })),
  );
  t.strictSame([...tree.overlapping(count - 2, Infinity)], [count - 2, count - 1]);
  for (let i = 0; i < count; i++) tree.delete(i, 'x');
  t.equal(tree.size, 0);
  tree.add({ start: 1, end: 2, id: 'x', owner: 1 });
  t.throws(() => {
    tree.build([]);
  }, InvariantError);
});
