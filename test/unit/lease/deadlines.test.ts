import * as fc from 'fast-check';
import t from 'tap';

import { Deadlines } from '../../../src/lease/deadlines.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { HandClock } from './set-up.js';
import { testSeed, times } from '../../support/random-test.js';

const seed = testSeed(t);

interface Item {
  readonly name: string;
  deadlineMs: number;
  deadlineSlot: number;
}

function item(name: string): Item {
  return { name, deadlineMs: 0, deadlineSlot: -1 };
}

function setUp() {
  const clock = new HandClock();
  const reached: string[] = [];
  const deadlines = new Deadlines<Item>(clock, ({ name }) => reached.push(name));
  return { clock, reached, deadlines };
}

t.test('set: the earliest is told first, none before its time, each once', async (t) => {
  const { clock, reached, deadlines } = setUp();
  const start = clock.nowMs();
  deadlines.set(item('late'), start + 300);
  deadlines.set(item('early'), start + 100);
  clock.advance(99);
  t.strictSame(reached, []);
  clock.advance(1);
  t.strictSame(reached, ['early']);
  clock.advance(1000);
  t.strictSame(reached, ['early', 'late']);
  t.equal(deadlines.size, 0);
});

t.test('set: again moves the deadline, later or earlier', async (t) => {
  const { clock, reached, deadlines } = setUp();
  const start = clock.nowMs();
  const one = item('one');
  const two = item('two');
  deadlines.set(one, start + 100);
  deadlines.set(two, start + 200);
  deadlines.set(one, start + 300);
  clock.advance(150);
  t.strictSame(reached, [], 'the old deadline is void');
  deadlines.set(one, start + 160);
  clock.advance(20);
  t.strictSame(reached, ['one']);
  t.equal(deadlines.size, 1);
});

t.test('close: nobody is told any more, and no timer is left', async (t) => {
  const { clock, reached, deadlines } = setUp();
  const held = item('held');
  deadlines.set(held, clock.nowMs() + 100);
  deadlines.close();
  deadlines.set(item('late'), clock.nowMs() + 50);
  deadlines.delete(held);
  t.equal(clock.timers, 0);
  clock.advance(1_000);
  t.strictSame(reached, []);
});

t.test('delete: a deleted item is never told, and no timer is left for nothing', async (t) => {
  const { clock, reached, deadlines } = setUp();
  const one = item('one');
  deadlines.set(one, clock.nowMs() + 100);
  t.equal(clock.timers, 1);
  deadlines.delete(one);
  deadlines.delete(one);
  t.equal(clock.timers, 0);
  clock.advance(1000);
  t.strictSame(reached, []);
});

t.test('set: many at the same moment are all told', async (t) => {
  const { clock, reached, deadlines } = setUp();
  for (let i = 0; i < 3500; i++) deadlines.set(item(String(i)), clock.nowMs() + 50);
  t.equal(clock.timers, 1, 'one timer for all');
  clock.advance(50);
  t.ok(reached.length < 3500, 'the event loop gets its turns in between');
  clock.advance(10);
  t.equal(new Set(reached).size, 3500);
});

t.test('restore: the first items are told in order, and can be moved and deleted', async (t) => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 900 }), { maxLength: 70 }), (delaysMs) => {
      const { clock, reached, deadlines } = setUp();
      const start = clock.nowMs();
      const items = delaysMs.map((ms) => ({ ...item(String(ms)), deadlineMs: start + ms }));
      deadlines.restore(items);
      const [gone, moved, ...others] = items;
      if (gone !== undefined) deadlines.delete(gone);
      if (moved !== undefined) deadlines.set(moved, start + 1000);
      clock.advance(950);
      const expected = others.map(({ name }) => Number(name)).toSorted((a, b) => a - b);
      if (reached.join() !== expected.join()) return false;
      clock.advance(50);
      return deadlines.size === 0 && clock.timers === 0 && reached.at(-1) === moved?.name;
    }),
    { seed, numRuns: times(300) },
  );
  const { deadlines } = setUp();
  deadlines.restore([item('one')]);
  t.throws(() => {
    deadlines.restore([item('two')]);
  }, InvariantError);
});

t.test('deadlines: random sets, moves and deletes tell what a walk over all tells', async (t) => {
  const step = fc.record({
    name: fc.integer({ min: 0, max: 12 }),
    delayMs: fc.integer({ min: -1, max: 50 }),
    passMs: fc.integer({ min: 0, max: 5 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const { clock, reached, deadlines } = setUp();
      const items = Array.from({ length: 13 }, (_, i) => item(String(i)));
      const naive = new Map<string, number>();
      const expected: string[] = [];
      for (const { name, delayMs, passMs } of steps) {
        const one = items[name] ?? item('');
        if (delayMs < 0) {
          deadlines.delete(one);
          naive.delete(one.name);
        } else {
          // Spread over the millisecond by name, so that no two are due at once.
          const deadlineMs = clock.nowMs() + delayMs + 1 + name / 100;
          deadlines.set(one, deadlineMs);
          naive.set(one.name, deadlineMs);
        }
        clock.advance(passMs);
        const due = [...naive].filter(([, ms]) => Math.ceil(ms) <= clock.nowMs());
        for (const [late] of due) {
          naive.delete(late);
          expected.push(late);
        }
      }
      return (
        deadlines.size === naive.size && reached.toSorted().join() === expected.toSorted().join()
      );
    }),
    { seed, numRuns: times(300) },
  );
  t.pass(`seed ${seed}`);
});
