import { Device } from '../../src/base/device.js';
import { Layouts } from '../../src/dax/layouts.js';
import { systemClock } from '../../src/lib/clock.js';
import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../../src/lib/latency-histogram.js';
import { SortableIds } from '../../src/lib/sortable-id.js';
import { MIB, PAGE_SIZE } from '../../src/lib/units.js';
import { UsageRef } from '../../src/lib/usage-ref.js';
import { DevPagemap, MemoryType } from '../../src/mm/dev-pagemap.js';
import { genericDaxPagefree } from '../../src/mm/generic-dax-pagefree.js';
import { pinUserPages, unpinUserPages } from '../../src/mm/gup.js';
import { Memremap } from '../../src/mm/memremap.js';
import { PageWaiters } from '../../src/mm/page-waiters.js';
import { ROUNDS, medianRow, quantile, type BenchRow } from './bench-row.js';

const WAKES = 3_000;

/** Measures once, in microseconds, from the last put to the waiter running. */
type Wake = () => Promise<number>;

/** The wait of a truncate against a bare promise that is resolved the same way. */
export async function run(): Promise<BenchRow[]> {
  const truncate = await truncateWake();
  await sample(truncate);
  await sample(bareWake);
  const rounds: { ours: number[]; peer: number[] }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    rounds.push({ ours: await sample(truncate), peer: await sample(bareWake) });
  }
  return [
    { name: 'put to waiter, p50', at: 0.5 },
    { name: 'put to waiter, p99', at: 0.99 },
  ].map(({ name, at }) =>
    medianRow(
      name,
      'µs',
      rounds.map(({ ours, peer }) => ({ ours: quantile(ours, at), peer: quantile(peer, at) })),
    ),
  );
}

async function sample(wake: Wake): Promise<number[]> {
  const samples: number[] = [];
  for (let n = 0; n < WAKES; n++) samples.push(await wake());
  return samples;
}

/** A truncate that waits for one pinned page of a mounted device. */
async function truncateWake(): Promise<Wake> {
  const memremap = new Memremap({ devPagemapOps: true });
  const waiters = new PageWaiters(systemClock);
  const pgmap = new DevPagemap({ range: { start: 0, length: MIB }, ref: new UsageRef() });
  memremap.devPagemapGetOps();
  pgmap.type = MemoryType.FsDax;
  pgmap.pageFree = (index, pages) => {
    genericDaxPagefree(waiters, pgmap, index, pages);
  };
  await memremap.devmMemremapPages(new Device('pmem0'), pgmap);
  const layouts = new Layouts({
    device: { pgmap, waiters },
    clock: systemClock,
    ids: new SortableIds(() => systemClock.wallMs()),
    pageFreeLatency: new LatencyHistogram(FAST_BOUNDS_SECONDS),
    onWaitEnded() {},
  });
  const pages = [{ firstPfn: 0, count: MIB / PAGE_SIZE }];

  return async () => {
    pinUserPages(memremap, 7, 1);
    const breaking = layouts.breakLayouts({
      op: 'truncate',
      inode: 12,
      from: 0,
      to: MIB,
      pages: () => pages,
    });
    let putMs = 0;
    setImmediate(() => {
      putMs = systemClock.nowMs();
      unpinUserPages(memremap, 7, 1);
    });
    const layout = await breaking;
    const microseconds = (systemClock.nowMs() - putMs) * 1000;
    layout.lift();
    return microseconds;
  };
}

async function bareWake(): Promise<number> {
  let putMs = 0;
  await new Promise<void>((resolve) => {
    setImmediate(() => {
      putMs = systemClock.nowMs();
      resolve();
    });
  });
  return (systemClock.nowMs() - putMs) * 1000;
}
