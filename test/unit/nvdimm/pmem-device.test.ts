import { setImmediate } from 'node:timers/promises';

import t from 'tap';

import { pinUserPages, unpinUserPages } from '../../../src/mm/gup.js';
import { releasesAfter } from './attach-faults.js';
import { fsdaxBacking, setUpProbe } from './probe-set-up.js';

t.test('detach: refuses new pins and claims at once, then waits for the last pin', async (t) => {
  const { probe, memremap, device } = setUpProbe(fsdaxBacking());
  const pmem = await probe();
  pinUserPages(memremap, 512, 1);
  pinUserPages(memremap, 1024, 512);

  let detached = false;
  const detaching = (async (): Promise<void> => {
    await pmem.detach();
    detached = true;
  })();
  await setImmediate();
  t.equal(pmem.state, 'detaching');
  t.throws(
    () => {
      pinUserPages(memremap, 513, 1);
    },
    { code: 'ENXIO' },
  );
  t.throws(() => pmem.disk.claim('late'), { code: 'ENODEV' });
  t.throws(() => pmem.daxDevice.directAccess(0, 1), { code: 'ENXIO' });
  t.equal(memremap.devmapManagedKey.users, 1, 'the pages are still there');

  unpinUserPages(memremap, 512, 1);
  await setImmediate();
  t.notOk(detached, 'a block is pinned yet');
  unpinUserPages(memremap, 1024, 512);
  await detaching;
  t.equal(pmem.state, 'detached');
  t.strictSame(device.devres.releaseLog, releasesAfter('map-pfn'));
});

t.test('detach: in the raw branch waits for I/O in flight before the bytes go', async (t) => {
  const { probe, device } = setUpProbe(fsdaxBacking());
  const pmem = await probe({ forceRaw: true });
  const { usageCounter } = pmem.disk.queue;
  t.ok(usageCounter.tryGet());
  const detaching = pmem.detach();
  await setImmediate();
  t.notOk(usageCounter.tryGet(), 'no new I/O');
  t.strictSame(device.devres.releaseLog, ['disk', 'queue freeze', 'memremap']);
  usageCounter.put();
  await detaching;
  t.strictSame(device.devres.releaseLog, releasesAfter('map-raw'));
});

t.test('detach: asked again it settles with the first', async (t) => {
  const { probe, device } = setUpProbe(fsdaxBacking());
  const pmem = await probe();
  await Promise.all([pmem.detach(), pmem.detach()]);
  await pmem.detach();
  t.strictSame(device.devres.releaseLog, releasesAfter('map-pfn'));
});
