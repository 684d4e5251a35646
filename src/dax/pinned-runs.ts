import type { DevPagemap } from '../mm/dev-pagemap.js';
import type { PfnRun } from '../mm/gup.js';

/**
 * The pinned stretches of some pages, ascending, as long as they go. Takes no pin, so the
 * answer holds until the caller next awaits.
 */
export function pinnedRuns(pgmap: DevPagemap, { firstPfn, count }: PfnRun): PfnRun[] {
  const { refs } = pgmap;
  const runs: PfnRun[] = [];
  const end = firstPfn - pgmap.firstPfn + count;
  for (let at = end - count; at < end;) {
    const first = refs.firstBusy(at, end - at);
    if (first === undefined) break;
    at = refs.firstIdle(first, end - first) ?? end;
    runs.push({ firstPfn: pgmap.firstPfn + first, count: at - first });
  }
  return runs;
}
