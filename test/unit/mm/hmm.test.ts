import t from 'tap';

import { Device } from '../../../src/base/device.js';
import { MemoryType } from '../../../src/mm/dev-pagemap.js';
import { pinUserPages, unpinUserPages } from '../../../src/mm/gup.js';
import { hmmDevmemAdd } from '../../../src/mm/hmm.js';
import { Memremap } from '../../../src/mm/memremap.js';
import { mapPages } from './set-up.js';

t.test(
  'hmmDevmemAdd: its pages report when they go idle, and are not pinned by users',
  async (t) => {
    const memremap = new Memremap({ devPagemapOps: true });
    const device = new Device('gpu0');
    const freed: number[] = [];
    const pgmap = await hmmDevmemAdd(device, memremap, {
      pages: 3,
      pageFree: (index) => freed.push(index),
    });
    t.equal(pgmap.type, MemoryType.Private);
    memremap.getPages(pgmap, 1, 1);
    memremap.putPages(pgmap, 1, 1);
    t.strictSame(freed, [1]);
    t.throws(
      () => {
        pinUserPages(memremap, pgmap.firstPfn, 1);
      },
      { code: 'EOPNOTSUPP' },
    );
  },
);

t.test('hmmDevmemAdd: shares the key with a pmem device, either may leave first', async (t) => {
  for (const hmmLeavesFirst of [true, false]) {
    const pmem = await mapPages({ pages: 8 });
    const { memremap } = pmem;
    const gpu = new Device('gpu0');
    const pgmap = await hmmDevmemAdd(gpu, memremap, { pages: 3, pageFree() {} });
    t.equal(memremap.devmapManagedKey.users, 2);

    await (hmmLeavesFirst ? gpu : pmem.device).devres.releaseAll();
    t.ok(memremap.devmapManagedKey.enabled, 'the other needs it still');
    if (hmmLeavesFirst) {
      t.strictSame(gpu.devres.releaseLog, ['pagemap', 'hmm pagemap ops']);
      pinUserPages(memremap, 1, 1);
      unpinUserPages(memremap, 1, 1);
      t.strictSame(pmem.freed, ['1+1']);
    }
    await (hmmLeavesFirst ? pmem.device : gpu).devres.releaseAll();
    t.notOk(memremap.devmapManagedKey.enabled);
    t.equal(memremap.findPagemap(pgmap.firstPfn), undefined);
  }
});

t.test('hmmDevmemAdd: refused in a driver without idle-page wakeups', async (t) => {
  const memremap = new Memremap({ devPagemapOps: false });
  const device = new Device('gpu0');
  await t.rejects(hmmDevmemAdd(device, memremap, { pages: 3, pageFree() {} }), {
    code: 'EOPNOTSUPP',
  });
  await device.devres.releaseAll();
  t.strictSame(device.devres.releaseLog, []);
});

t.test('hmmDevmemAdd: gives the key back when its device is released already', async (t) => {
  const memremap = new Memremap({ devPagemapOps: true });
  const device = new Device('gpu0');
  await device.devres.releaseAll();
  await t.rejects(hmmDevmemAdd(device, memremap, { pages: 3, pageFree() {} }), {
    code: 'ESHUTDOWN',
  });
  t.equal(memremap.devmapManagedKey.users, 0);
});
