import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';

import { MemRegions } from '../../../src/base/mem-regions.js';
import { Layouts } from '../../../src/dax/layouts.js';
import { mountExt4 } from '../../../src/fs/ext4/ext4.js';
import type { Ext4 } from '../../../src/fs/ext4/ext4.js';
import type { LeaseTarget } from '../../../src/lease/lease-target.js';
import type { Lease } from '../../../src/lease/lease.js';
import { Leases } from '../../../src/lease/leases.js';
import { HostHolders } from '../../../src/lease/host-holders.js';
import { readBootId } from '../../../src/lease/proc-fs.js';
import { silentEvents } from '../../../src/lib/event-ring.js';
import { systemClock } from '../../../src/lib/clock.js';
import { assert } from '../../../src/lib/assert.js';
import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../../../src/lib/latency-histogram.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { SortableIds } from '../../../src/lib/sortable-id.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { Memremap } from '../../../src/mm/memremap.js';
import { PageWaiters } from '../../../src/mm/page-waiters.js';
import { ndPmemProbe } from '../../../src/nvdimm/nd-pmem-probe.js';
import { fsck } from '../../support/ext4-image.js';
import { extract } from '../../support/extract.js';
import { unpackKernelNamespace } from '../../support/fixture.js';
import { requires } from '../../support/requires.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { MemoryStore } from '../../unit/lease/memory-store.js';
import { releaseAll } from '../../unit/lease/set-up.js';
import { ask, isSettled } from './ext4-set-up.js';

const P = PAGE_SIZE;

/** The namespace that a kernel made, attached, with its first partition mounted. */
async function setUp(t: Test) {
  const directory = scratchDirectory(t);
  const image = join(directory, 'pmem0.img');
  await unpackKernelNamespace(image);
  const clock = systemClock;
  const log = silentLogger;
  const memremap = new Memremap({ devPagemapOps: true });
  const waiters = new PageWaiters(clock);
  const regions = new MemRegions();
  const backing = await openBacking(image, { log });
  const options = { backing, forceRaw: false, memremap, waiters, regions, log, clock };
  const pmem = await ndPmemProbe(options);
  const { pgmap } = pmem;
  assert(pgmap !== undefined, 'an fsdax namespace has pages');
  const partition = pmem.disk.partition('pmem0p1');
  const { range } = partition;
  const ids = new SortableIds(() => clock.wallMs());
  const pageFreeLatency = new LatencyHistogram(FAST_BOUNDS_SECONDS);
  const device = { pgmap, waiters };
  const layouts = new Layouts({ device, clock, ids, pageFreeLatency, onWaitEnded: () => {} });
  const fs = await mountExt4(range, { readOnly: false, layouts, log, clock });
  const media = { partition: partition.uuid, filesystem: fs.uuid, writtenSeconds: 0 };
  let mounted = true;
  const target = (): LeaseTarget =>
    mounted
      ? { kind: 'filesystem', media, fs, layouts, range }
      : { kind: 'raw', media, range, claim: (holder) => partition.claim(holder) };
  const holders = new HostHolders();
  const leases = new Leases({
    targets: { target, identify: () => media },
    memremap,
    holders,
    store: new MemoryStore(),
    media: 'namespace',
    bootId: readBootId(),
    backingPath: backing.path,
    clock,
    ids,
    log,
    events: silentEvents,
  });
  const unmount = async (): Promise<void> => {
    await fs.unmount();
    mounted = false;
  };
  /** The partition's bytes, for the judges; the device is detached then. */
  const extracted = (): string =>
    extract(image, [range.start, range.length], join(directory, 'part'));
  return { backing, pmem, partition, fs, leases, unmount, extracted };
}

/** Pieces of a lease as pages of the file and blocks of the partition. */
function blocksOf(lease: Lease, start: number): [page: number, block: number, pages: number][] {
  return lease
    .view()
    .extents.map(({ file_offset, device_offset, length }) => [
      file_offset / P,
      (device_offset - start) / P,
      length / P,
    ]);
}

/** As many whole pages as a file has, its last one included. */
function pagesLength(fs: Ext4, path: string): number {
  return Math.ceil(fs.stat(fs.lookup(path)).size / P) * P;
}

t.test('a read lease lists the extents that the kernel laid out', async (t) => {
  const { pmem, partition, fs, leases, unmount } = await setUp(t);
  const { start } = partition.range;
  const whole = (path: string) => leases.acquire(ask({ path, length: pagesLength(fs, path) }));
  t.strictSame(blocksOf(await whole('big.txt'), start), [
    [0, 2579, 2],
    [6, 2585, 704],
  ]);
  t.strictSame(blocksOf(await whole('sparse.bin'), start), [
    [0, 3289, 1],
    [256, 4056, 1],
    [1280, 4568, 1],
    [4352, 5592, 1],
  ]);
  t.strictSame(blocksOf(await whole('prealloc.bin'), start), [], 'unwritten');
  t.equal((await leases.acquire(ask({ path: 'dir/soft', length: 11 }))).pages, 1, 'a symlink');
  await releaseAll(leases);
  await unmount();
  await pmem.detach();
});

t.test(
  'a write lease over prealloc.bin lends zeros, where the kernel put its blocks',
  async (t) => {
    if (!requires(t, { commands: ['e2fsck'] })) return;
    const { backing, pmem, partition, fs, leases, unmount, extracted } = await setUp(t);
    const { start } = partition.range;
    const path = 'prealloc.bin';
    const length = pagesLength(fs, path);
    backing.mapping.fill(start + 5593 * P, length, 0xa5);
    const lease = await leases.acquire(ask({ path, length, access: 'write' }));
    t.strictSame(blocksOf(lease, start), [[0, 5593, 2048]]);
    const lent = Buffer.alloc(length, 1);
    backing.mapping.read(start + 5593 * P, lent);
    t.ok(lent.equals(Buffer.alloc(length)), 'no stale byte is lent');

    const sent = Buffer.alloc(length, 0x5c);
    backing.mapping.write(start + 5593 * P, sent);
    await backing.persist(start + 5593 * P, length);
    const seen = Buffer.alloc(length);
    fs.read(fs.lookup(path), 0, seen);
    t.ok(seen.equals(sent), 'and no DMA is lost');
    await leases.release(lease.id);
    await unmount();
    await pmem.detach();
    t.match(fsck(extracted()), { status: 0 });
  },
);

t.test('a raw lease keeps the partition from every other use, and a detach waiting', async (t) => {
  const { pmem, partition, leases, unmount } = await setUp(t);
  await unmount();
  const raw = { partition: 'pmem0p1', offset: 0, length: 3 * P, ttlMs: 60_000 };
  const lease = await leases.acquire({ ...raw, access: 'read' });
  t.equal(lease.view().extents[0]?.device_offset, partition.range.start);
  const busy = { name: 'DaxdError', code: 'EBUSY' };
  t.throws(() => partition.claim('ext4'), busy);
  await t.rejects(pmem.disk.deletePartition('pmem0p1'), busy);

  const detached = pmem.detach();
  t.equal(await isSettled(detached), false);
  await t.rejects(leases.acquire({ ...raw, access: 'read' }), {
    name: 'DaxdError',
    code: /^(ENXIO|ENODEV)$/,
  });
  await leases.release(lease.id);
  await detached;
});
