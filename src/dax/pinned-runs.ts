import type { DevPagemap } from '../mm/dev-pagemap.js';
import type { PfnRun } from '../mm/gup.js';

/**
 * The pinned stretches of some pages, ascending, as long as they go. Takes no pin, so the
 * answer holds until the caller next awaits.
 */
export function pinnedRuns(pgmap: DevPagemap, { firstPfn, count }: PfnRun): PfnRun[] {
  const pinned: PfnRun[] = [];
  for (const run of pgmap.refs.runs(firstPfn - pgmap.firstPfn, count)) {
    if (run.isPinned) pinned.push({ firstPfn: pgmap.firstPfn + run.first, count: run.count });
  }
  return pinned;
}
