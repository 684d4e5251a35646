import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';

import t, { type Test } from 'tap';

import { silentLogger } from '../../../src/lib/logger.js';
import { MIB } from '../../../src/lib/units.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { pinUserPages, unpinUserPages } from '../../../src/mm/gup.js';
import { initNamespace } from '../../../src/nvdimm/init-namespace.js';
import {
  BRANCHES,
  type Branch,
  failAt,
  releasesAfter,
  stepsOf,
} from '../../unit/nvdimm/attach-faults.js';
import { setUpProbe } from '../../unit/nvdimm/probe-set-up.js';

/** A file that attaches in `branch`. */
async function imageFor(t: Test, branch: Branch): Promise<string> {
  const path = join(t.testdir(), 'image');
  await writeFile(path, '');
  await truncate(path, 32 * MIB);
  if (branch === 'map-pfn') {
    const backing = await openBacking(path, { log: silentLogger });
    await initNamespace(backing, { mode: 'fsdax', map: 'dev', align: 2 * MIB });
    await backing.close();
  }
  return path;
}

for (const branch of BRANCHES) {
  const forceRaw = branch === 'map-raw';

  t.test(`ndPmemProbe: ${branch} failing at any step leaves the file free`, async (t) => {
    const path = await imageFor(t, branch);
    for (const step of stepsOf(branch)) {
      const backing = await openBacking(path, { log: silentLogger });
      const { probe, device, memremap } = setUpProbe(backing);
      await t.rejects(probe({ forceRaw, beforeStep: failAt(step) }), { code: 'ENOMEM' }, step);
      t.strictSame(device.devres.releaseLog, releasesAfter(branch, step), step);
      t.equal(memremap.devmapManagedKey.users, 0);
      const second = await openBacking(path, { log: silentLogger });
      await second.close();
    }
  });

  t.test(`detach: ${branch} keeps the file locked until the last use ends`, async (t) => {
    const path = await imageFor(t, branch);
    const backing = await openBacking(path, { log: silentLogger });
    const { probe, device, memremap } = setUpProbe(backing);
    const pmem = await probe({ forceRaw });
    const { pgmap } = pmem;
    const pfn = pgmap?.firstPfn ?? 0;
    if (pgmap === undefined) pmem.disk.queue.usageCounter.tryGet();
    else pinUserPages(memremap, pfn, 1);

    const detaching = pmem.detach();
    await setImmediate();
    t.equal(pmem.state, 'detaching');
    await t.rejects(openBacking(path, { log: silentLogger }), { code: 'EBUSY' });
    if (pgmap === undefined) {
      pmem.disk.queue.usageCounter.put();
    } else {
      t.throws(
        () => {
          pinUserPages(memremap, pfn + 1, 1);
        },
        { code: 'ENXIO' },
      );
      unpinUserPages(memremap, pfn, 1);
    }
    await detaching;
    t.strictSame(device.devres.releaseLog, releasesAfter(branch));
    const second = await openBacking(path, { log: silentLogger });
    await second.close();
  });
}

t.test('ndPmemProbe: attached, detached and attached again, partitions are the same', async (t) => {
  const path = await imageFor(t, 'map-pfn');
  const first = await setUpProbe(await openBacking(path, { log: silentLogger })).probe();
  const made = await first.disk.addPartition({ sizeBytes: 8 * MIB, label: 'data' });
  await first.detach();
  const second = await setUpProbe(await openBacking(path, { log: silentLogger })).probe();
  t.match(second.disk.partitions, [
    { name: 'pmem0p1', label: 'data', uuid: made.uuid, startBytes: 2 * MIB, sizeBytes: 8 * MIB },
  ]);
  await second.detach();
});

t.test('ndPmemProbe: a read-only attach stores nothing', async (t) => {
  const path = await imageFor(t, 'map-pfn');
  const backing = await openBacking(path, { log: silentLogger, readOnly: true });
  const pmem = await setUpProbe(backing).probe();
  t.equal(pmem.namespace.mode, 'fsdax');
  await t.rejects(pmem.disk.addPartition({ label: 'data' }), { code: 'EROFS' });
  await pmem.detach();
});
