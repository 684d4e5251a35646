import t from 'tap';

import { bdevDaxSupported } from '../../../src/dax/bdev-dax-supported.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { MIB } from '../../../src/lib/units.js';
import { MemoryType } from '../../../src/mm/dev-pagemap.js';
import {
  encodeInfoBlock,
  INFO_BLOCK_OFFSET,
  InfoBlockSignature,
  type PfnSuperblock,
} from '../../../src/nvdimm/info-block.js';
import { ndPfnCreate } from '../../../src/nvdimm/nd-pfn-create.js';
import { bytesOf } from '../../support/backing-bytes.js';
import { MemoryBacking } from '../../support/memory-backing.js';
import { fsdaxBacking, setUpProbe } from './probe-set-up.js';

const uuid = '11111111-2222-3333-4444-555555555555';

function withBlock(sizeBytes: number, change: Partial<PfnSuperblock>): MemoryBacking {
  const backing = new MemoryBacking(sizeBytes);
  const sb = ndPfnCreate({ map: 'dev', align: 2 * MIB, uuid, namespaceBytes: 32 * MIB });
  backing.mapping.write(INFO_BLOCK_OFFSET, encodeInfoBlock({ ...sb, ...change }));
  return backing;
}

t.test('ndPmemProbe: an info block makes an fsdax device', async (t) => {
  const { probe, memremap } = setUpProbe(fsdaxBacking());
  const pmem = await probe();
  t.strictSame(pmem.namespace, {
    mode: 'fsdax',
    map: 'dev',
    uuid,
    dataOffset: 2 * MIB,
    npfns: 7680,
    align: 2 * MIB,
    startPad: 0,
    endTrunc: 0,
    infoBlockVersion: '1.4',
  });
  t.equal(pmem.state, 'attached');
  t.equal(pmem.disk.name, 'pmem0');
  t.equal(pmem.disk.dataOffset, 2 * MIB);
  t.equal(pmem.disk.sizeBytes, 30 * MIB);
  t.match(pmem.pgmap, { type: MemoryType.FsDax, firstPfn: 512, pages: 7680 });
  t.equal(pmem.pgmap?.ref, pmem.disk.queue.usageCounter, 'pins and I/O share one counter');
  t.equal(memremap.devmapManagedKey.users, 1);
  t.match(pmem.disk.queue.limits, { dax: true, logicalBlockSize: 512, physicalBlockSize: 4096 });
  t.match(pmem.daxDevice.directAccess(0, 1), { pfn: 512, available: 1 });
  await pmem.detach();
});

t.test('ndPmemProbe: records every step with its outcome and time', async (t) => {
  const { probe } = setUpProbe(fsdaxBacking());
  const pmem = await probe();
  t.strictSame(
    pmem.steps.map(({ step, ok, errno }) => [step, ok, errno]),
    [
      ['common-probe', true, undefined],
      ['enable-raw-access', true, undefined],
      ['sniff-btt', true, 'ENODEV'],
      ['sniff-pfn', true, undefined],
      ['alloc-pmem', true, undefined],
      ['setup-pfn', true, undefined],
      ['disable-raw-access', true, undefined],
      ['request-mem-region', true, undefined],
      ['alloc-queue', true, undefined],
      ['share-usage-counter', true, undefined],
      ['map-pfn', true, undefined],
      ['register-freeze', true, undefined],
      ['check-map', true, undefined],
      ['queue-limits', true, undefined],
      ['alloc-disk', true, undefined],
      ['badblocks', true, undefined],
      ['alloc-dax', true, undefined],
      ['add-disk', true, undefined],
      ['revalidate', true, undefined],
    ],
  );
  t.ok(pmem.steps.every(({ seconds }) => seconds === 0.001));
});

t.test(
  'ndPmemProbe: byte 0 of the disk is start_pad + dataoff, for blocks and pages',
  async (t) => {
    const backing = withBlock(32 * MIB, { startPad: 2 * MIB, dataoff: 4 * MIB, endTrunc: 2 * MIB });
    const pmem = await setUpProbe(backing).probe();
    t.equal(pmem.disk.dataOffset, 6 * MIB);
    t.equal(pmem.disk.sizeBytes, 24 * MIB);
    t.equal(pmem.pgmap?.firstPfn, (6 * MIB) / 4096);
    t.equal(pmem.pgmap?.pages, (24 * MIB) / 4096);
    t.equal(pmem.daxDevice.directAccess(0, 1).pfn, (6 * MIB) / 4096);
    t.match(pmem.namespace, {
      startPad: 2 * MIB,
      endTrunc: 2 * MIB,
      dataOffset: 4 * MIB,
      npfns: 6144,
    });
  },
);

t.test('ndPmemProbe: with map=dev the geometry says how many pages there are', async (t) => {
  const { probe, log } = setUpProbe(withBlock(32 * MIB, { npfns: 9999 }));
  const pmem = await probe();
  t.equal(pmem.namespace.npfns, 7680);
  t.match(log.lines, [{ level: 'info', fields: { npfns: 9999, fitting: 7680 } }]);
  const fewer = await setUpProbe(withBlock(32 * MIB, { npfns: 1 })).probe();
  t.equal(fewer.namespace.npfns, 7680);
});

t.test('ndPmemProbe: with map=mem the block says how many pages count', async (t) => {
  const pmem = await setUpProbe(fsdaxBacking(32 * MIB, 'mem')).probe();
  t.match(pmem.namespace, { map: 'mem', npfns: 7680, dataOffset: 2 * MIB });
  const none = setUpProbe(withBlock(32 * MIB, { mode: 1, npfns: 0 }));
  await t.rejects(none.probe(), { code: 'EOPNOTSUPP' });
});

t.test('ndPmemProbe: data on the info block itself is EINVAL', async (t) => {
  const backing = withBlock(32 * MIB, { dataoff: 4096, align: 4096 });
  await t.rejects(setUpProbe(backing).probe(), { code: 'EINVAL', message: /dataoff 4096/ });
});

t.test('ndPmemProbe: without a block the whole namespace is the disk, with pages', async (t) => {
  const backing = new MemoryBacking(4 * MIB);
  backing.mapping.fill(0, 4 * MIB, 0xa7);
  const before = bytesOf(backing);
  const { probe, log } = setUpProbe(backing);
  const pmem = await probe();
  t.match(pmem.namespace, {
    mode: 'raw',
    map: 'none',
    uuid: undefined,
    dataOffset: 0,
    npfns: 1024,
  });
  t.match(pmem.pgmap, { type: MemoryType.FsDax, firstPfn: 0, pages: 1024 });
  t.equal(pmem.disk.sizeBytes, 4 * MIB);
  t.ok(pmem.steps.some(({ step }) => step === 'map-pages'));
  t.match(log.warnings(), [/attached raw, nothing written/]);
  await pmem.detach();
  t.ok(bytesOf(backing).equals(before), 'nothing was written');
});

t.test('ndPmemProbe: forceRaw looks at nothing and gives no pages', async (t) => {
  const { probe, memremap } = setUpProbe(fsdaxBacking());
  const pmem = await probe({ forceRaw: true });
  t.match(pmem.namespace, { mode: 'raw', dataOffset: 0 });
  t.equal(pmem.pgmap, undefined);
  t.equal(memremap.devmapManagedKey.users, 0);
  t.equal(pmem.disk.queue.limits?.dax, false);
  t.notOk(pmem.steps.some(({ step }) => step.startsWith('sniff')));
  t.ok(pmem.steps.some(({ step }) => step === 'map-raw'));
  const support = bdevDaxSupported({
    startBytes: 0,
    sizeBytes: pmem.disk.sizeBytes,
    daxDevice: pmem.daxDevice,
    memremap,
    blockSize: 4096,
  });
  t.match(support, { supported: false, errno: 'EOPNOTSUPP' });
  await pmem.detach();
});

t.test('ndPmemProbe: raw with an end off 2 MiB gets no pages, and says so', async (t) => {
  const { probe, log } = setUpProbe(new MemoryBacking(3 * MIB));
  const pmem = await probe();
  t.equal(pmem.pgmap, undefined);
  t.match(log.warnings(), [/attached raw/, /no multiple of 2 MiB/]);
});

t.test('ndPmemProbe: without pagemap ops the pages have no type and no DAX', async (t) => {
  const { probe, memremap } = setUpProbe(fsdaxBacking(), { devPagemapOps: false });
  const pmem = await probe();
  t.equal(pmem.pgmap?.type, undefined);
  t.equal(pmem.disk.queue.limits?.dax, false);
  const { daxDevice } = pmem;
  const support = bdevDaxSupported({
    startBytes: 0,
    sizeBytes: 4096,
    daxDevice,
    memremap,
    blockSize: 4096,
  });
  t.match(support, { supported: false, errno: 'EOPNOTSUPP' });
  await pmem.detach();
  t.equal(memremap.devmapManagedKey.users, 0);
});

t.test('ndPmemProbe: a BTT of either version is refused', async (t) => {
  for (const offset of [0, 4096]) {
    const backing = new MemoryBacking(16 * MIB);
    backing.mapping.write(offset, Buffer.from('BTT_ARENA_INFO\0\0', 'latin1'));
    const { probe } = setUpProbe(backing);
    await t.rejects(probe(), { code: 'EOPNOTSUPP', message: new RegExp(`BTT .*byte ${offset}`) });
  }
  const small = new MemoryBacking(14 * MIB);
  small.mapping.write(4096, Buffer.from('BTT_ARENA_INFO\0\0', 'latin1'));
  t.equal((await setUpProbe(small).probe()).namespace.mode, 'raw', 'below 16 MiB there is no BTT');
});

t.test('ndPmemProbe: a devdax namespace is refused with advice', async (t) => {
  const { probe } = setUpProbe(withBlock(32 * MIB, { signature: InfoBlockSignature.Dax }));
  await t.rejects(probe(), { code: 'EOPNOTSUPP', message: /devdax.*ndctl -m fsdax/ });
});

t.test('ndPmemProbe: a block with bad geometry is never attached raw', async (t) => {
  for (const [change, sizeBytes] of [
    [{ dataoff: 64 * MIB }, 32 * MIB],
    [{ endTrunc: 4096 }, 32 * MIB],
    [{ align: 64 * MIB }, 32 * MIB],
    [{}, 2 * MIB],
  ] as const) {
    const backing = withBlock(sizeBytes, change);
    const before = bytesOf(backing);
    await t.rejects(setUpProbe(backing).probe(), { code: 'EOPNOTSUPP' });
    t.ok(bytesOf(backing).equals(before));
  }
  await t.rejects(setUpProbe(withBlock(32 * MIB, { mode: 7 })).probe(), { code: 'ENXIO' });
});

t.test('ndPmemProbe: a bad checksum attaches raw, loudly, and writes nothing', async (t) => {
  const backing = fsdaxBacking();
  backing.mapping.fill(INFO_BLOCK_OFFSET + 3000, 1, 1);
  const before = bytesOf(backing);
  const { probe, log } = setUpProbe(backing);
  const pmem = await probe();
  t.equal(pmem.namespace.mode, 'raw');
  const warning = log.lines.find(({ level }) => level === 'warn');
  t.match(warning?.message, /info block is there but does not count/);
  t.match(warning?.fields['problem'], /checksum/);
  await pmem.detach();
  t.ok(bytesOf(backing).equals(before));
});

t.test('ndPmemProbe: a block of another namespace attaches raw, loudly', async (t) => {
  const { probe, log } = setUpProbe(withBlock(32 * MIB, { parentUuid: uuid }));
  t.equal((await probe()).namespace.mode, 'raw');
  t.match(log.lines[0], { level: 'warn', fields: { problem: /parent uuid/ } });
});

t.test('ndPmemProbe: a claimed region is EBUSY and stays with its owner', async (t) => {
  const { probe, regions } = setUpProbe(fsdaxBacking());
  regions.request({ start: 0, length: 4096 }, 'other');
  await t.rejects(probe(), { code: 'EBUSY' });
  t.throws(() => {
    regions.request({ start: 0, length: 1 }, 'third');
  }, DaxdError);
});

t.test(
  'ndPmemProbe: a bad block on the info block is ENXIO, one in the data EIO there',
  async (t) => {
    const blind = setUpProbe(fsdaxBacking());
    await t.rejects(blind.probe({ badRanges: [{ start: 4096, length: 512 }] }), { code: 'ENXIO' });

    const { probe } = setUpProbe(fsdaxBacking());
    const badRanges = [
      { start: 20480, length: 512 },
      { start: 2 * MIB + 8192, length: 512 },
    ];
    const pmem = await probe({ badRanges });
    t.match(pmem.daxDevice.directAccess(0, 2), { available: 2 });
    t.throws(() => pmem.daxDevice.directAccess(2, 1), { code: 'EIO' });
    t.throws(() => pmem.daxDevice.directAccess(0, 3), { code: 'EIO' }, 'it lies within');
    t.match(
      pmem.daxDevice.directAccess(3, 1),
      { available: 1 },
      'the one below the data is no matter',
    );
  },
);
