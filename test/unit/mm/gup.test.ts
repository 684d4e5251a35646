import * as fc from 'fast-check';
import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { MemoryType } from '../../../src/mm/dev-pagemap.js';
import { pinUserPages, unpinPartOf, unpinUserPages, type PfnRun } from '../../../src/mm/gup.js';
import { testSeed, times } from '../../support/random-test.js';
import { settle } from '../../support/settle.js';
import { mapPages, permutations } from './set-up.js';

t.test('pinUserPages: pins the run, and keeps no use of the ref beyond', async (t) => {
  const { memremap, pgmap, ref, freed } = await mapPages({ pages: 2048 });
  pinUserPages(memremap, 500, 600);
  t.equal(pgmap.refs.pinnedPages(0, 2048), 600);
  t.equal(pgmap.refs.firstBusy(0, 2048), 500);
  t.equal(memremap.pinsTotal, 600);
  t.equal(ref.count, 2048);
  unpinUserPages(memremap, 500, 600);
  t.equal(pgmap.refs.pinnedPages(0, 2048), 0);
  t.equal(freed.length, 12 + 1 + 76, 'once a page, once the block that was pinned whole');
  t.equal(memremap.pageFreeTotal, 89);
});

t.test('pinUserPages: all or nothing', async (t) => {
  const { memremap, pgmap, ref } = await mapPages({ pages: 1000, firstPfn: 100 });
  for (const [firstPfn, count] of [
    [99, 2],
    [1000, 101],
    [1100, 1],
    [0, 1],
  ] as const) {
    t.throws(
      () => {
        pinUserPages(memremap, firstPfn, count);
      },
      { code: 'ENXIO' },
      `${firstPfn} + ${count}`,
    );
  }
  t.equal(pgmap.refs.pinnedPages(0, 1000), 0);
  t.equal(ref.count, 1000);
  t.throws(() => {
    pinUserPages(memremap, 100, 0);
  }, InvariantError);
});

t.test('pinUserPages: refuses a dying pagemap and device memory', async (t) => {
  const { memremap, pgmap, ref } = await mapPages({ pages: 8 });
  pgmap.type = MemoryType.Public;
  t.throws(
    () => {
      pinUserPages(memremap, 0, 1);
    },
    { code: 'EOPNOTSUPP' },
  );
  pgmap.type = MemoryType.FsDax;
  ref.kill();
  t.throws(
    () => {
      pinUserPages(memremap, 0, 1);
    },
    { code: 'ENXIO' },
  );
  t.ok(pgmap.isIdlePfn(0));
});

t.test('unpinUserPages: pages that nobody pins, or has, break an invariant', async (t) => {
  const { memremap } = await mapPages({ pages: 8 });
  t.throws(() => {
    unpinUserPages(memremap, 0, 1);
  }, InvariantError);
  t.throws(() => {
    unpinUserPages(memremap, 8, 1);
  }, InvariantError);
});

t.test('unpinUserPages: 3 -> 2 wakes nobody', async (t) => {
  const { memremap, pgmap, waiters, freed } = await mapPages({ pages: 8 });
  pinUserPages(memremap, 3, 1);
  pinUserPages(memremap, 3, 1);
  const waited = waiters.waitVarEvent(3, () => pgmap.isIdlePfn(3));
  unpinUserPages(memremap, 3, 1);
  await settle();
  t.equal(waiters.size, 1);
  t.strictSame(waiters.wakeups, { useful: 0, spurious: 0 });
  t.strictSame(freed, []);
  unpinUserPages(memremap, 3, 1);
  await waited;
  t.strictSame(freed, ['3+1']);
});

t.test('unpinUserPages: a bulk release wakes once a page', async (t) => {
  const { memremap, pgmap, waiters, freed } = await mapPages({ pages: 8 });
  pinUserPages(memremap, 2, 3);
  const waits = [2, 3, 3, 4].map((pfn) => waiters.waitVarEvent(pfn, () => pgmap.isIdlePfn(pfn)));
  unpinUserPages(memremap, 2, 3);
  await Promise.all(waits);
  t.strictSame(freed, ['2+1', '3+1', '4+1']);
  t.strictSame(waiters.wakeups, { useful: 4, spurious: 0 });
});

t.test(
  'unpinUserPages: a block pinned whole wakes once, and its waiters wherever they wait',
  async (t) => {
    const { memremap, pgmap, waiters, freed } = await mapPages({ pages: 1024 });
    pinUserPages(memremap, 512, 512);
    const waits = [512, 700, 1023].map((pfn) =>
      waiters.waitVarEvent(pfn, () => pgmap.isIdlePfn(pfn)),
    );
    unpinUserPages(memremap, 512, 512);
    await Promise.all(waits);
    t.strictSame(freed, ['512+512']);
    t.equal(memremap.pageFreeTotal, 1);
    t.strictSame(waiters.wakeups, { useful: 3, spurious: 0 });
  },
);

t.test(
  'unpinUserPages: block and page pins in every order end each wait at its last put',
  async (t) => {
    const pins: PfnRun[] = [
      { firstPfn: 512, count: 512 },
      { firstPfn: 600, count: 1 },
      { firstPfn: 600, count: 1 },
      { firstPfn: 601, count: 1 },
    ];
    const watched = [600, 601, 602];
    for (const order of permutations(pins)) {
      const { memremap, pgmap, waiters } = await mapPages({ pages: 1024 });
      for (const { firstPfn, count } of pins) pinUserPages(memremap, firstPfn, count);
      const done = new Set<number>();
      for (const pfn of watched) {
        void waiters.waitVarEvent(pfn, () => pgmap.isIdlePfn(pfn)).then(() => done.add(pfn));
      }
      const left = [...order];
      for (const run of order) {
        left.shift();
        unpinUserPages(memremap, run.firstPfn, run.count);
        await settle();
        const due = watched.filter((pfn) => !left.some((pin) => covers(pin, pfn)));
        if (due.length !== done.size || !due.every((pfn) => done.has(pfn))) {
          t.fail(`after ${JSON.stringify(run)} ${[...done].join()} are done, not ${due.join()}`);
        }
      }
      t.equal(
        waiters.wakeups.spurious,
        0,
        'each waiter was woken when its page was idle, not before',
      );
      t.equal(waiters.size, 0);
    }
  },
);

t.test('unpinPartOf: splits the block it cuts and frees only its own pages', async (t) => {
  const { memremap, pgmap, freed } = await mapPages({ pages: 2048 });
  const run = { firstPfn: 500, count: 1100 };
  pinUserPages(memremap, 500, 1100);
  const rest = unpinPartOf(memremap, run, { firstPfn: 600, count: 2 });
  t.strictSame(freed, ['600+1', '601+1']);
  t.equal(pgmap.refs.pinnedPages(0, 2048), 1098);
  t.strictSame(rest, [
    { firstPfn: 500, count: 100 },
    { firstPfn: 602, count: 998 },
  ]);
  for (const { firstPfn, count } of rest) unpinUserPages(memremap, firstPfn, count);
  t.equal(pgmap.refs.pinnedPages(0, 2048), 0);
  t.equal(freed.filter((free) => free.endsWith('+512')).join(), '1024+512', 'kept whole');
});

t.test('unpinPartOf: a whole block, both ends, or all of the run', async (t) => {
  const { memremap, pgmap, freed } = await mapPages({ pages: 2048 });
  const run = { firstPfn: 512, count: 1024 };
  pinUserPages(memremap, 512, 1024);
  const [rest] = unpinPartOf(memremap, run, { firstPfn: 512, count: 512 });
  t.strictSame(rest, { firstPfn: 1024, count: 512 });
  t.strictSame(freed, ['512+512'], 'no split');
  t.strictSame(unpinPartOf(memremap, { firstPfn: 1024, count: 512 }, rest ?? run), []);
  t.equal(pgmap.refs.pinnedPages(0, 2048), 0);
  t.throws(() => unpinPartOf(memremap, run, { firstPfn: 511, count: 2 }), InvariantError);
});

t.test('unpinPartOf: no page of a split block is idle on the way, other pins stay', async (t) => {
  const { memremap, pgmap, waiters } = await mapPages({ pages: 512 });
  const run = { firstPfn: 0, count: 512 };
  pinUserPages(memremap, 0, 512);
  pinUserPages(memremap, 0, 512);
  const waited = waiters.waitVarEvent(9, () => pgmap.isIdlePfn(9));
  unpinPartOf(memremap, run, { firstPfn: 9, count: 1 });
  t.equal(pgmap.refs.pageRefCount(9), 2, 'the other pin of the block');
  t.equal(pgmap.refs.pageRefCount(8), 3);
  unpinUserPages(memremap, 0, 512);
  await waited;
  t.equal(pgmap.refs.pinnedPages(0, 512), 511);
});

t.test('unpinPartOf: on a dying pagemap the parts let it go', async (t) => {
  const { memremap, device, ref } = await mapPages({ pages: 512 });
  pinUserPages(memremap, 0, 512);
  const done = device.devres.releaseAll();
  const rest = unpinPartOf(memremap, { firstPfn: 0, count: 512 }, { firstPfn: 0, count: 100 });
  t.equal(ref.count, 412);
  for (const { firstPfn, count } of rest) unpinUserPages(memremap, firstPfn, count);
  await done;
  t.equal(ref.count, 0);
});

t.test('gup: random runs released in random parts agree with a naive model', async (t) => {
  const seed = testSeed(t);
  const pages = 2100;
  const run = fc.record({
    start: fc.nat(pages - 1),
    length: fc.nat(1200),
    cuts: fc.array(fc.record({ at: fc.nat(1200), length: fc.nat(600) }), { maxLength: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.nat(600),
      fc.array(run, { minLength: 1, maxLength: 5 }),
      async (firstPfn, runs) => {
        const { memremap, pgmap, freed } = await mapPages({ pages, firstPfn });
        const model = Array.from({ length: pages }, () => 0);
        const add = ({ firstPfn: first, count }: PfnRun, change: number): void => {
          for (let i = 0; i < count; i++) {
            const index = first - firstPfn + i;
            model[index] = (model[index] ?? 0) + change;
          }
        };
        const agrees = (): boolean =>
          pgmap.refs.pinnedPages(0, pages) === model.filter((pins) => pins > 0).length &&
          model.every((pins, i) => pgmap.refs.isIdle(i) === (pins === 0));

        const held: PfnRun[] = [];
        for (const { start, length } of runs) {
          const count = Math.min(length + 1, pages - start);
          pinUserPages(memremap, firstPfn + start, count);
          held.push({ firstPfn: firstPfn + start, count });
          add({ firstPfn: firstPfn + start, count }, 1);
        }
        if (!agrees()) return false;
        for (const { at, length } of runs.flatMap(({ cuts }) => cuts)) {
          const piece = held.shift();
          if (piece === undefined) break;
          const offset = at % piece.count;
          const part = {
            firstPfn: piece.firstPfn + offset,
            count: Math.min(length + 1, piece.count - offset),
          };
          held.push(...unpinPartOf(memremap, piece, part));
          add(part, -1);
          if (!agrees()) return false;
        }
        for (const { firstPfn: first, count } of held) unpinUserPages(memremap, first, count);
        return (
          pgmap.refs.firstBusy(0, pages) === undefined && freed.length === memremap.pageFreeTotal
        );
      },
    ),
    { seed, numRuns: times(60) },
  );
});

function covers({ firstPfn, count }: PfnRun, pfn: number): boolean {
  return pfn >= firstPfn && pfn < firstPfn + count;
}
