import { Device } from '../../src/base/device.js';
import { systemClock } from '../../src/lib/clock.js';
import { GIB, MIB, PAGE_SIZE } from '../../src/lib/units.js';
import { UsageRef } from '../../src/lib/usage-ref.js';
import { DevPagemap, MemoryType } from '../../src/mm/dev-pagemap.js';
import { genericDaxPagefree } from '../../src/mm/generic-dax-pagefree.js';
import { pinUserPages, unpinUserPages } from '../../src/mm/gup.js';
import { Memremap } from '../../src/mm/memremap.js';
import { PageWaiters } from '../../src/mm/page-waiters.js';
import { ROUNDS, medianRow, type BenchRow } from './bench-row.js';

interface PinCase {
  readonly name: string;
  readonly pages: number;
  /** Pins and unpins a round, fewer for a peer that takes them page by page. */
  readonly times: number;
  readonly peerTimes: number;
}

const CASES: readonly PinCase[] = [
  { name: 'pin+unpin 1 page', pages: 1, times: 200_000, peerTimes: 200_000 },
  { name: 'pin+unpin 2 MiB', pages: (2 * MIB) / PAGE_SIZE, times: 100_000, peerTimes: 5_000 },
  { name: 'pin+unpin 1 GiB', pages: GIB / PAGE_SIZE, times: 2_000, peerTimes: 10 },
];

/** Pins and unpins against a loop that adds to and takes from one Atomics count a page. */
export async function run(): Promise<BenchRow[]> {
  const memremap = await mapOneGib();
  const counts = new Int32Array(new SharedArrayBuffer(GIB / 1024));
  return CASES.map(({ name, pages, times, peerTimes }) => {
    const ours = (): void => {
      pinUserPages(memremap, 0, pages);
      unpinUserPages(memremap, 0, pages);
    };
    const peer = (): void => {
      for (let page = 0; page < pages; page++) Atomics.add(counts, page, 1);
      for (let page = 0; page < pages; page++) Atomics.sub(counts, page, 1);
    };
    microsecondsOf(ours, times / 10);
    microsecondsOf(peer, peerTimes / 10);
    const rounds = Array.from({ length: ROUNDS }, () => ({
      ours: microsecondsOf(ours, times),
      peer: microsecondsOf(peer, peerTimes),
    }));
    return medianRow(name, 'µs', rounds);
  });
}

function microsecondsOf(work: () => void, times: number): number {
  const startedMs = systemClock.nowMs();
  for (let n = 0; n < times; n++) work();
  return ((systemClock.nowMs() - startedMs) * 1000) / times;
}

/** FS_DAX pages that report when they go idle, as a mounted device has them. */
async function mapOneGib(): Promise<Memremap> {
  const memremap = new Memremap({ devPagemapOps: true });
  const waiters = new PageWaiters(systemClock);
  const pgmap = new DevPagemap({ range: { start: 0, length: GIB }, ref: new UsageRef() });
  memremap.devPagemapGetOps();
  pgmap.type = MemoryType.FsDax;
  pgmap.pageFree = (index, pages) => {
    genericDaxPagefree(waiters, pgmap, index, pages);
  };
  await memremap.devmMemremapPages(new Device('pmem0'), pgmap);
  return memremap;
}
