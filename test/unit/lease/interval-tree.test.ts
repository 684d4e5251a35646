import * as fc from 'fast-check';
import t from 'tap';

import { IntervalNodes } from '../../../src/lease/interval-nodes.js';
import { type IntervalOwner, IntervalTree } from '../../../src/lease/interval-tree.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { testSeed, times } from '../../support/random-test.js';

const seed = testSeed(t);

interface Owner extends IntervalOwner {
  readonly start: number;
  readonly length: number;
}

function treeOf(nodes = new IntervalNodes<Owner>()): IntervalTree<Owner> {
  return new IntervalTree(nodes);
}

function owner(id: string, start: number, length: number): Owner {
  return {
    id,
    start,
    length,
    eachPinned(take) {
      take(start, length);
    },
  };
}

function add(tree: IntervalTree<Owner>, one: Owner): void {
  tree.add({ offset: one.start, length: one.length }, one);
}

/** Who overlaps, as "start id". */
function found(tree: IntervalTree<Owner>, from: number, to: number): string[] {
  return [...tree.overlapping(from, to)].map(({ start, id }) => `${start} ${id}`);
}

t.test('overlapping: touching is not overlapping, and the end may be Infinity', async (t) => {
  const tree = treeOf();
  add(tree, owner('a', 10, 10));
  t.strictSame(found(tree, 0, 10), []);
  t.strictSame(found(tree, 20, 30), []);
  t.strictSame(found(tree, 19, 30), ['10 a']);
  t.strictSame(found(tree, 0, Infinity), ['10 a']);
});

t.test('delete: takes out one interval, and nothing where there is none', async (t) => {
  const tree = treeOf();
  const a = owner('a', 0, 9);
  add(tree, a);
  add(tree, owner('b', 0, 9));
  t.equal(tree.delete(0, owner('c', 0, 9)), false);
  t.equal(tree.size, 2);
  t.equal(tree.delete(0, a), true);
  t.strictSame(found(tree, 0, 9), ['0 b']);
  t.equal(tree.size, 1);
});

t.test('trees that share their nodes stay apart, and take what others gave back', async (t) => {
  const nodes = new IntervalNodes<Owner>();
  const [first, second] = [treeOf(nodes), treeOf(nodes)];
  const many = Array.from({ length: 500 }, (_, i) => owner(`${i}`, i, 1));
  for (const one of many) add(one.start % 2 === 0 ? first : second, one);
  t.strictSame(found(first, 0, 4), ['0 0', '2 2']);
  for (const one of many) if (one.start % 2 === 0) first.delete(one.start, one);
  t.equal(first.size, 0);
  const { length } = nodes.cells;
  for (const one of many.slice(0, 250)) add(first, one);
  t.equal(nodes.cells.length, length, 'nodes are used again');
  t.strictSame(found(second, 0, 4), ['1 1', '3 3']);
  t.strictSame(found(first, 0, 3), ['0 0', '1 1', '2 2']);
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
        const tree = treeOf();
        const naive = new Map<string, Owner>();
        for (const { start, length, id } of steps) {
          const key = `${start} ${id}`;
          // A second step at the same place deletes what the first added.
          const one = owner(id, start, length);
          if (naive.delete(key)) tree.delete(start, one);
          else {
            naive.set(key, one);
            add(tree, one);
          }
        }
        const end = query.start + query.length;
        const expected = [...naive]
          .filter(([, one]) => one.start < end && one.start + one.length > query.start)
          .toSorted(([, a], [, b]) =>
            a.start === b.start ? Number(a.id) - Number(b.id) : a.start - b.start,
          )
          .map(([key]) => key);
        return (
          tree.size === naive.size &&
          JSON.stringify(found(tree, query.start, end)) === JSON.stringify(expected)
        );
      }),
      { seed, numRuns: times(500) },
    );
    t.pass(`seed ${seed}`);
  },
);

t.test('add: a long ascending run stays shallow enough to search and empty', async (t) => {
  const tree = treeOf();
  const count = 50_000;
  for (let i = 0; i < count; i++) add(tree, owner('x', i, 1));
  t.strictSame(found(tree, count - 2, Infinity), [`${count - 2} x`, `${count - 1} x`]);
  for (let i = 0; i < count; i++) tree.delete(i, owner('x', i, 1));
  t.equal(tree.size, 0);
});

t.test('build: the tree of what was added one by one, which goes on to change', async () => {
  const interval = fc.record({
    start: fc.integer({ min: 0, max: 50 }),
    length: fc.integer({ min: 1, max: 20 }),
    id: fc.integer({ min: 0, max: 9 }).map(String),
  });
  const distinct = fc
    .uniqueArray(interval, { selector: ({ start, id }) => `${start} ${id}`, maxLength: 60 })
    .map((all) => all.map(({ id, start, length }) => owner(id, start, length)));
  fc.assert(
    fc.property(distinct, fc.infiniteStream(fc.boolean()), (intervals, gone) => {
      const [built, added] = [treeOf(), treeOf()];
      const ascending = intervals.toSorted((a, b) => Number(a.id) - Number(b.id));
      built.build(ascending);
      for (const one of intervals) add(added, one);
      const isSame = (): boolean =>
        built.size === added.size &&
        [0, 10, 30, 60].every(
          (from) =>
            JSON.stringify(found(built, from, from + 15)) ===
            JSON.stringify(found(added, from, from + 15)),
        );
      if (!isSame()) return false;
      for (const one of intervals) {
        if (gone.next().value !== true) continue;
        if (!built.delete(one.start, one) || !added.delete(one.start, one)) return false;
      }
      const late = owner('late', 12, 28);
      add(built, late);
      add(added, late);
      return isSame();
    }),
    { seed, numRuns: times(500) },
  );
});

t.test('build: of very many trees, each makes room for itself alone now and then', async (t) => {
  const nodes = new IntervalNodes<Owner>();
  const lengths = new Set<number>();
  for (let i = 0; i < 20_000; i++) {
    const one = owner('x', i, 1);
    const tree = treeOf(nodes);
    tree.build([one]);
    lengths.add(nodes.cells.length);
    if (i % 5_000 === 0) t.strictSame([...tree.overlapping(i, i + 1)], [one]);
  }
  t.ok(lengths.size < 20, `the nodes were copied ${lengths.size} times`);
});

t.test('build: a long run stays shallow enough to search and empty', async (t) => {
  const tree = treeOf();
  const count = 50_000;
  const owners = Array.from({ length: count }, (_, i) => owner('x', i, 1));
  tree.build(owners);
  t.strictSame(found(tree, count - 2, Infinity), [`${count - 2} x`, `${count - 1} x`]);
  for (const one of owners) tree.delete(one.start, one);
  t.equal(tree.size, 0);
  add(tree, owner('x', 1, 1));
  t.throws(() => {
    tree.build([]);
  }, InvariantError);
});
