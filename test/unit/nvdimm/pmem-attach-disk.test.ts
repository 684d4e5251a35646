import t from 'tap';

import { Device } from '../../../src/base/device.js';
import { readGptCopy, writeGptCopy } from '../../../src/block/gpt-copy.js';
import { MIB } from '../../../src/lib/units.js';
import { UsageRef } from '../../../src/lib/usage-ref.js';
import { DevPagemap } from '../../../src/mm/dev-pagemap.js';
import { MemoryBacking } from '../../support/memory-backing.js';
import { BRANCHES, type Branch, failAt, releasesAfter, stepsOf } from './attach-faults.js';
import { fsdaxBacking, type ProbeSetUp, setUpProbe } from './probe-set-up.js';

function setUp(branch: Branch): ProbeSetUp {
  return setUpProbe(branch === 'map-pfn' ? fsdaxBacking() : new MemoryBacking(4 * MIB));
}

for (const branch of BRANCHES) {
  const forceRaw = branch === 'map-raw';

  t.test(`pmemAttachDisk: ${branch} runs its steps in order`, async (t) => {
    const { probe } = setUp(branch);
    const pmem = await probe({ forceRaw });
    t.strictSame(
      pmem.steps.map(({ step }) => step),
      stepsOf(branch),
    );
  });

  for (const step of stepsOf(branch)) {
    t.test(`pmemAttachDisk: ${branch} failing at ${step} gives all back in reverse`, async (t) => {
      const { probe, device, memremap, regions, log } = setUp(branch);
      await t.rejects(probe({ forceRaw, beforeStep: failAt(step) }), {
        name: 'DaxdError',
        code: 'ENOMEM',
        message: `injected at ${step}`,
      });
      t.strictSame(device.devres.releaseLog, releasesAfter(branch, step));
      t.equal(memremap.devmapManagedKey.users, 0);
      t.equal(memremap.getDevPagemap(0x200), undefined);
      regions.request({ start: 0, length: 1 }, 'the region is free again');
      const last = step === branch ? 'check-map' : step;
      t.match(log.lines.at(-1), {
        level: 'error',
        message: 'attach failed',
        fields: { step: last, ok: false, errno: 'ENOMEM' },
      });
    });
  }

  t.test(`pmemAttachDisk: ${branch} detached gives all back in reverse`, async (t) => {
    const { probe, device, memremap } = setUp(branch);
    const pmem = await probe({ forceRaw });
    t.strictSame(device.devres.releaseLog, []);
    await pmem.detach();
    t.strictSame(device.devres.releaseLog, releasesAfter(branch));
    t.equal(memremap.devmapManagedKey.users, 0);
    t.equal(pmem.state, 'detached');
  });
}

t.test('pmemAttachDisk: a freeze is registered even where the mapping failed', async (t) => {
  t.strictSame(releasesAfter('map-pfn', 'map-pfn'), [
    'queue freeze',
    'queue',
    'mem region',
    'backing',
  ]);
});

t.test('pmemAttachDisk: pages that another device has put the ops back exactly once', async (t) => {
  const { probe, device, memremap } = setUp('map-pfn');
  const other = new Device('pmem1');
  const range = { start: 16 * MIB, length: 2 * MIB };
  await memremap.devmMemremapPages(other, new DevPagemap({ range, ref: new UsageRef() }));
  memremap.devPagemapGetOps();
  await t.rejects(probe(), { code: 'ENOMEM', message: /shares a 2 MiB block/ });
  t.equal(memremap.devmapManagedKey.users, 1, 'that of the other device is left');
  t.strictSame(device.devres.releaseLog, [
    'queue freeze',
    'pagemap ops',
    'queue',
    'mem region',
    'backing',
  ]);
});

t.test('pmemAttachDisk: a table that cannot be used is a disk without partitions', async (t) => {
  const backing = fsdaxBacking();
  const first = await setUpProbe(backing).probe();
  await first.disk.addPartition({ sizeBytes: 8 * MIB, label: 'a' });
  const { range } = first.disk;
  const [primary, backup] = [1, range.length / 512 - 1].map((lba) => readGptCopy(range, lba));
  for (const copy of [primary, backup]) {
    if (copy === undefined || 'damage' in copy) throw new Error('a copy is damaged');
    copy.entries.copy(copy.entries, 128, 0, 128);
    await writeGptCopy(range, copy);
  }
  const { probe, log } = setUpProbe(backing);
  const pmem = await probe();
  t.strictSame(pmem.disk.partitions, []);
  t.match(log.warnings(), [/partition table unusable/]);
  await t.rejects(pmem.disk.addPartition({ label: 'a' }), {
    code: 'EUCLEAN',
    message: /entries 1 and 2 overlap/,
  });
  await pmem.detach();
});

t.test('pmemAttachDisk: a release that fails too is told with the attach error', async (t) => {
  const backing = new MemoryBacking(4 * MIB);
  const { probe, device } = setUpProbe(backing);
  await device.devres.addActionOrReset('stubborn', () => {
    throw new Error('will not go');
  });
  await t.rejects(probe({ beforeStep: failAt('alloc-disk') }), {
    code: 'ENOMEM',
    message: /not everything was given back/,
  });
  t.equal(device.devres.releaseLog.at(-1), 'stubborn', 'it ran last, as it was taken first');
});
