import type { BrokenLayout } from '../../../src/dax/broken-layout.js';
import type { LayoutChangeRequest } from '../../../src/dax/layout-change.js';
import { Layouts } from '../../../src/dax/layouts.js';
import type { LayoutsOptions } from '../../../src/dax/layouts.js';
import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../../../src/lib/latency-histogram.js';
import { SortableIds } from '../../../src/lib/sortable-id.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { pinUserPages, unpinUserPages } from '../../../src/mm/gup.js';
import { mapPages, type MappedPages } from '../mm/set-up.js';

/** The pages of one file: page n of the file is page n of the device. */
export interface LaidOutPages extends MappedPages {
  readonly layouts: Layouts;
  readonly pageFreeLatency: LatencyHistogram;
  /** Each wait that ended, as "op outcome seconds". */
  readonly waits: string[];
  readonly pin: (pfn: number, count?: number) => void;
  readonly unpin: (pfn: number, count?: number) => void;
}

/** Whether there are pages, and who is told of the changes. */
interface LayoutSetUp extends Pick<LayoutsOptions, 'onBarrierUp' | 'onWait' | 'onBarrierDown'> {
  readonly dax?: boolean;
}

/** Layouts over 2048 mapped pages, or over none with `dax: false`. */
export async function setUpLayouts({
  dax = true,
  ...told
}: LayoutSetUp = {}): Promise<LaidOutPages> {
  const mapped = await mapPages({ pages: 2048 });
  const { memremap, pgmap, waiters, clock } = mapped;
  const pageFreeLatency = new LatencyHistogram(FAST_BOUNDS_SECONDS);
  const waits: string[] = [];
  const layouts = new Layouts({
    device: dax ? { pgmap, waiters } : undefined,
    clock,
    ids: new SortableIds(() => clock.wallMs()),
    pageFreeLatency,
    onWaitEnded: (op, outcome, seconds) => waits.push(`${op} ${outcome} ${seconds}`),
    ...told,
  });
  return {
    ...mapped,
    layouts,
    pageFreeLatency,
    waits,
    pin: (pfn, count = 1) => {
      pinUserPages(memremap, pfn, count);
    },
    unpin: (pfn, count = 1) => {
      unpinUserPages(memremap, pfn, count);
    },
  };
}

/** A truncate of inode 12 over pages `[first, first + count)`. */
export function truncateOf(
  first: number,
  count: number,
  more: Partial<LayoutChangeRequest> = {},
): LayoutChangeRequest {
  return {
    op: 'truncate',
    inode: 12,
    from: first * PAGE_SIZE,
    to: (first + count) * PAGE_SIZE,
    pages: () => [{ firstPfn: first, count }],
    ...more,
  };
}

/** How a break ends, for tests that look at it before it has. */
export interface Watched {
  layout?: BrokenLayout;
  error?: unknown;
}

/** Starts to watch `breaking`; it is never left without a handler. */
export function watch(breaking: Promise<BrokenLayout>): Watched {
  const watched: Watched = {};
  const look = async (): Promise<void> => {
    try {
      watched.layout = await breaking;
    } catch (error) {
      watched.error = error;
    }
  };
  void look();
  return watched;
}
