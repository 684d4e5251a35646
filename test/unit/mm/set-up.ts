import { Device } from '../../../src/base/device.js';
import type { Clock } from '../../../src/lib/clock.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { UsageRef } from '../../../src/lib/usage-ref.js';
import { DevPagemap, MemoryType } from '../../../src/mm/dev-pagemap.js';
import { genericDaxPagefree } from '../../../src/mm/generic-dax-pagefree.js';
import { Memremap } from '../../../src/mm/memremap.js';
import { PageWaiters } from '../../../src/mm/page-waiters.js';
import type { Interruptible } from '../../../src/mm/page-waiters.js';

/** A clock that stands still until a test moves `ms`. */
export class StillClock implements Clock {
  ms = 1000;

  nowMs(): number {
    return this.ms;
  }

  wallMs(): number {
    return this.ms;
  }

  setTimer(): () => void {
    return () => {};
  }
}

/** A wait that a test gives up. */
export class Interrupt implements Interruptible {
  aborted: DaxdError | undefined;
  /** Who is to be told. */
  port: (() => void) | undefined;

  onAbort(rouse: (() => void) | undefined): void {
    this.port = rouse;
  }

  abort(error: DaxdError = new DaxdError('cancelled', 'the test gives it up')): void {
    this.aborted = error;
    this.port?.();
  }
}

/** A pagemap that is mapped, what it reported, and what it stands on. */
export interface MappedPages {
  readonly memremap: Memremap;
  readonly device: Device;
  readonly pgmap: DevPagemap;
  /** The ref of the pagemap. */
  readonly ref: UsageRef;
  readonly waiters: PageWaiters;
  readonly clock: StillClock;
  /** Each call of pageFree, as "index+pages". */
  readonly freed: string[];
}

/** How {@link mapPages} lays the pages out. */
export interface MapPagesOptions {
  readonly pages: number;
  readonly firstPfn?: number;
  readonly memremap?: Memremap;
}

/** Maps FS_DAX pages as the pmem driver does. */
export async function mapPages({
  pages,
  firstPfn = 0,
  memremap = new Memremap({ devPagemapOps: true }),
}: MapPagesOptions): Promise<MappedPages> {
  const clock = new StillClock();
  const waiters = new PageWaiters(clock);
  const device = new Device('pmem0');
  const freed: string[] = [];
  const ref = new UsageRef();
  const range = { start: firstPfn * PAGE_SIZE, length: pages * PAGE_SIZE };
  const pgmap = new DevPagemap({ range, ref });
  memremap.devPagemapGetOps();
  await device.devres.addActionOrReset('pagemap ops', () => {
    memremap.devPagemapPutOps();
  });
  pgmap.type = MemoryType.FsDax;
  pgmap.pageFree = (index, count) => {
    freed.push(`${index}+${count}`);
    genericDaxPagefree(waiters, pgmap, index, count);
  };
  await memremap.devmMemremapPages(device, pgmap);
  return { memremap, device, pgmap, ref, waiters, clock, freed };
}

/** Every order of `items`. */
export function* permutations<T>(items: readonly T[]): Generator<T[]> {
  if (items.length === 0) yield [];
  for (const [i, item] of items.entries()) {
    for (const rest of permutations(items.toSpliced(i, 1))) yield [item, ...rest];
  }
}
