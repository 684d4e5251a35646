import type { LayoutPages } from '../../src/dax/broken-layout.js';
import { Layouts } from '../../src/dax/layouts.js';
import { systemClock } from '../../src/lib/clock.js';
import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../../src/lib/latency-histogram.js';
import { SortableIds } from '../../src/lib/sortable-id.js';

/** Layouts of a filesystem under test; without a device nothing there is ever pinned. */
export function layoutsOf(device?: LayoutPages): Layouts {
  return new Layouts({
    device,
    clock: systemClock,
    ids: new SortableIds(() => systemClock.wallMs()),
    pageFreeLatency: new LatencyHistogram(FAST_BOUNDS_SECONDS),
    onWaitEnded() {},
  });
}
