import t from 'tap';

import { daxLayoutBusyPage } from '../../../src/dax/dax-layout-busy-page.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { pinUserPages, unpinUserPages } from '../../../src/mm/gup.js';
import { mapPages } from '../mm/set-up.js';

t.test('daxLayoutBusyPage: the first pinned page, in the order of the runs', async (t) => {
  const { memremap, pgmap } = await mapPages({ pages: 2048, firstPfn: 700 });
  const runs = [
    { firstPfn: 1500, count: 600 },
    { firstPfn: 700, count: 10 },
  ];
  t.equal(daxLayoutBusyPage(pgmap, runs), undefined);
  pinUserPages(memremap, 705, 1);
  pinUserPages(memremap, 710, 1);
  t.equal(daxLayoutBusyPage(pgmap, runs), 705);
  pinUserPages(memremap, 1536, 512);
  t.equal(daxLayoutBusyPage(pgmap, runs), 1536, 'a block pinned whole');
  unpinUserPages(memremap, 1536, 512);
  unpinUserPages(memremap, 705, 1);
  t.equal(daxLayoutBusyPage(pgmap, runs), undefined, 'page 710 is of no run');
});

t.test('daxLayoutBusyPage: no runs, as of a file of holes, is idle', async (t) => {
  const { memremap, pgmap } = await mapPages({ pages: 8 });
  pinUserPages(memremap, 0, 8);
  t.equal(daxLayoutBusyPage(pgmap, []), undefined);
});

t.test('daxLayoutBusyPage: a run that the pagemap does not hold breaks an invariant', async (t) => {
  const { pgmap } = await mapPages({ pages: 8, firstPfn: 700 });
  t.throws(() => daxLayoutBusyPage(pgmap, [{ firstPfn: 699, count: 2 }]), InvariantError);
});
