import type { DevPagemap } from '../mm/dev-pagemap.js';
import type { PfnRun } from '../mm/gup.js';

/**
 * The pfn of the first pinned page of `runs`, in their order; undefined when all are idle.
 * Takes no pin, so the answer holds until the caller next awaits.
 *
 * daxd maps no file into a process, so there is nothing to unmap first: new pins are kept
 * out by the pending change's barrier instead.
 *
 * @kernel dax_layout_busy_page (fs/dax.c)
 */
export function daxLayoutBusyPage(pgmap: DevPagemap, runs: Iterable<PfnRun>): number | undefined {
  for (const { firstPfn, count } of runs) {
    const busy = pgmap.refs.firstBusy(firstPfn - pgmap.firstPfn, count);
    if (busy !== undefined) return pgmap.firstPfn + busy;
  }
  return undefined;
}
