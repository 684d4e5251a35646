import * as fc from 'fast-check';
import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { PageRefs } from '../../../src/mm/page-refs.js';
import { ModelledRefs, VERBS, type Verb } from './modelled-refs.js';
import { testSeed, times } from '../../support/random-test.js';

t.test('put: the last one of a page makes it idle, others do not', async (t) => {
  const refs = new PageRefs(4, 0);
  t.equal(refs.pageRefCount(2), 1, 'idle is 1');
  refs.get(2);
  refs.get(2);
  t.equal(refs.pageRefCount(2), 3);
  t.equal(refs.put(2), 0, '3 -> 2 makes nothing idle');
  t.notOk(refs.isIdle(2));
  t.equal(refs.put(2), 1, '2 -> 1 makes one page idle');
  t.ok(refs.isIdle(2));
});

t.test('put, putBlock: without a pin they break an invariant and change nothing', async (t) => {
  const refs = new PageRefs(512, 0);
  t.throws(() => refs.put(2), InvariantError);
  t.throws(() => refs.putBlock(0), InvariantError);
  t.equal(refs.pageRefCount(2), 1);
  refs.getBlock(0);
  t.throws(() => refs.put(2), InvariantError, 'a block pin is not put by the page');
  t.equal(refs.pinnedPages(0, 512), 512);
});

t.test('get, put, firstBusy, pinnedPages: a page outside breaks an invariant', async (t) => {
  const refs = new PageRefs(4, 0);
  t.throws(() => {
    refs.get(4);
  }, InvariantError);
  t.throws(() => refs.pageRefCount(-1), InvariantError);
  t.throws(() => refs.firstBusy(2, 3), InvariantError);
  t.throws(() => refs.pinnedPages(-1, 2), InvariantError);
  t.throws(() => new PageRefs(0, 0), InvariantError);
});

t.test('isHead: blocks start by pfn, and only those that lie whole count', async (t) => {
  const refs = new PageRefs(1024, 100);
  t.notOk(refs.isHead(0), 'page 0 is pfn 100');
  t.ok(refs.isHead(412), 'pfn 512');
  t.notOk(refs.isHead(924), 'pfn 1024 starts a block that is cut short');
  t.throws(() => {
    refs.getBlock(0);
  }, InvariantError);
  t.throws(() => {
    refs.getBlock(924);
  }, InvariantError);
  refs.getBlock(412);
  t.equal(refs.firstBusy(0, 1024), 412);
  t.equal(refs.pinnedPages(0, 1024), 512);
  t.equal(refs.firstBusy(924, 100), undefined);
});

t.test('putBlock: makes idle all pages but those pinned by themselves', async (t) => {
  const refs = new PageRefs(1024, 0);
  refs.getBlock(512);
  refs.getBlock(512);
  refs.get(600);
  t.equal(refs.pageRefCount(600), 4, '1 + own + head');
  t.equal(refs.putBlock(512), 0, 'the head has a pin left');
  t.equal(refs.putBlock(512), 511);
  t.equal(refs.firstBusy(0, 1024), 600);
  t.equal(refs.put(600), 1);

  refs.get(600);
  refs.getBlock(512);
  t.equal(refs.put(600), 0, 'the head still pins it');
  t.equal(refs.putBlock(512), 512);
});

t.test('splitBlock: one pin a page, and none of them was idle in between', async (t) => {
  const refs = new PageRefs(512, 0);
  refs.getBlock(0);
  refs.get(7);
  refs.splitBlock(0);
  t.equal(refs.pageRefCount(0), 2);
  t.equal(refs.pageRefCount(7), 3);
  t.throws(() => refs.putBlock(0), InvariantError, 'the head pin is gone');
  t.equal(refs.pinnedPages(0, 512), 512);
  t.equal(refs.put(0), 1);
  t.equal(refs.pinnedPages(0, 512), 511);
});

t.test('runs: pinned and idle pages in turn, blocks whole, and cut at both ends', async (t) => {
  const refs = new PageRefs(2048, 0);
  t.strictSame([...refs.runs(0, 2048)], [{ first: 0, count: 2048, isPinned: false }]);
  refs.getBlock(512);
  refs.get(1024);
  refs.get(2047);
  t.strictSame(
    [...refs.runs(100, 1948)],
    [
      { first: 100, count: 412, isPinned: false },
      { first: 512, count: 513, isPinned: true },
      { first: 1025, count: 1022, isPinned: false },
      { first: 2047, count: 1, isPinned: true },
    ],
  );
  t.strictSame([...refs.runs(600, 10)], [{ first: 600, count: 10, isPinned: true }]);
  t.strictSame([...refs.runs(600, 0)], []);
  t.throws(() => [...refs.runs(2000, 49)], InvariantError);
});

t.test('runs: a page that is pinned between two looks counts as it was seen first', async (t) => {
  class Contended extends PageRefs {
    override isIdle(index: number): boolean {
      const isIdle = super.isIdle(index);
      this.get(index);
      return isIdle;
    }
  }
  t.strictSame(
    [...new Contended(3, 0).runs(0, 3)],
    [0, 1, 2].map((first) => ({ first, count: 1, isPinned: false })),
  );
});

t.test('dropBase: tells how many pages go now, and is done once', async (t) => {
  const refs = new PageRefs(1100, 0);
  refs.getBlock(0);
  refs.get(5);
  refs.get(1099);
  t.equal(refs.dropBase(), 1100 - 513);
  t.ok(refs.baseDropped);
  t.equal(refs.pageRefCount(600), 0);
  t.equal(refs.pageRefCount(5), 2);
  t.throws(() => refs.dropBase(), InvariantError);
});

t.test('PageRefs: 16 TiB of untouched pages take next to no memory', async (t) => {
  const before = process.memoryUsage.rss();
  const refs = new PageRefs(2 ** 32 - 1, 0);
  refs.get(2 ** 32 - 2);
  refs.getBlock(2 ** 31);
  t.equal(refs.put(2 ** 32 - 2), 1);
  t.equal(refs.putBlock(2 ** 31), 512);
  t.ok(process.memoryUsage.rss() - before < 64 * 2 ** 20);
});

t.test('PageRefs: every short order of gets and puts agrees with a naive model', async (t) => {
  // One whole block, pages 1 to 512, and a page of the blocks before and after it.
  const pages = 514;
  const model = new ModelledRefs(pages, 511);
  const steps: [Verb, number][] = [
    ...[0, 1, 2].flatMap((page): [Verb, number][] => [
      ['get', page],
      ['put', page],
    ]),
    ['getBlock', 1],
    ['putBlock', 1],
  ];
  const inverse = { get: 'put', put: 'get', getBlock: 'putBlock', putBlock: 'getBlock' } as const;
  let orders = 0;
  const explore = (depth: number): void => {
    for (const [verb, page] of steps) {
      if (!model.take(verb, page)) continue;
      orders++;
      if (!model.agrees(0, pages) || !model.agrees(1, 512) || !model.agrees(2, 511)) {
        t.fail(`the model differs after ${verb} ${page}`);
      }
      if (depth > 1) explore(depth - 1);
      if (verb !== 'splitBlock') model.take(inverse[verb], page);
    }
  };
  explore(5);
  t.ok(orders > 3000, `${orders} orders`);
  t.equal(model.refs.pinnedPages(0, pages), 0, 'all undone');
});

t.test('PageRefs: random pins over many blocks agree with a naive model', async (t) => {
  const seed = testSeed(t);
  const pages = 2000;
  // Few distinct pages, so that puts find a pin.
  const page = fc.nat(pages / 250 - 1).map((n) => n * 250);
  const steps = fc.array(fc.tuple(fc.constantFrom(...VERBS), page), { maxLength: 40 });
  const property = fc.property(fc.nat(600), steps, fc.nat(pages - 1), (firstPfn, steps, cut) => {
    const model = new ModelledRefs(pages, firstPfn);
    for (const [verb, index] of steps) model.take(verb, index);
    return (
      model.agrees(0, pages) &&
      model.agrees(0, cut) &&
      model.agrees(cut, pages - cut) &&
      model.agrees(cut, 1)
    );
  });
  fc.assert(property, { seed, numRuns: times(200) });
});
