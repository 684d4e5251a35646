import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import { PAGES_PER_PMD, roundDown } from '../lib/units.js';
import { MemoryType, type DevPagemap } from './dev-pagemap.js';
import type { Memremap } from './memremap.js';

/** Pages `[firstPfn, firstPfn + count)`. */
export interface PfnRun {
  readonly firstPfn: number;
  readonly count: number;
}

/**
 * Pins the pages, all of them or none. Whole aligned 2 MiB blocks take one count on their
 * head, so a run is unpinned as it was pinned: whole by {@link unpinUserPages}, or piece by
 * piece by {@link unpinPartOf}.
 *
 * @throws DaxdError ENXIO when they are not data pages of one pagemap that lives;
 *   EOPNOTSUPP for device memory, which must stay movable.
 * @kernel pin_user_pages (mm/gup.c)
 */
export function pinUserPages(memremap: Memremap, firstPfn: number, count: number): void {
  assert(count > 0, `a pin holds pages, not ${count}`);
  const pgmap = memremap.getDevPagemap(firstPfn);
  if (pgmap === undefined) {
    throw new DaxdError('ENXIO', `page ${firstPfn} is on no device that takes new pins`);
  }
  try {
    checkPinnable(pgmap, firstPfn, count);
    memremap.getPages(pgmap, firstPfn - pgmap.firstPfn, count);
  } finally {
    // From here on the pin is guarded by the use of the ref that each page holds itself.
    memremap.putDevPagemap(pgmap);
  }
}

/**
 * Puts the pages of a run that {@link pinUserPages} pinned, and wakes who waits for those
 * that are idle now. Works on a dying pagemap too.
 *
 * @kernel unpin_user_pages (mm/gup.c)
 */
export function unpinUserPages(memremap: Memremap, firstPfn: number, count: number): void {
  assert(count > 0, `an unpin puts pages, not ${count}`);
  const pgmap = pinnedPagemap(memremap, firstPfn, count);
  memremap.putPages(pgmap, firstPfn - pgmap.firstPfn, count);
}

/**
 * Puts `part` of the pinned `run`. A block that was pinned whole and keeps some of its pages
 * becomes 512 pinned pages first.
 *
 * @returns what of the run stays pinned, as none, one or two runs for later unpins.
 */
export function unpinPartOf(memremap: Memremap, run: PfnRun, part: PfnRun): PfnRun[] {
  const runEnd = run.firstPfn + run.count;
  const partEnd = part.firstPfn + part.count;
  assert(
    part.count > 0 && part.firstPfn >= run.firstPfn && partEnd <= runEnd,
    `pages ${part.firstPfn} + ${part.count} are part of the run ${run.firstPfn} + ${run.count}`,
  );
  const pgmap = pinnedPagemap(memremap, run.firstPfn, run.count);

  const firstCut = blockCutAt(run, part.firstPfn);
  const lastCut = blockCutAt(run, partEnd);
  if (firstCut !== undefined) pgmap.refs.splitBlock(firstCut - pgmap.firstPfn);
  if (lastCut !== undefined && lastCut !== firstCut) {
    pgmap.refs.splitBlock(lastCut - pgmap.firstPfn);
  }
  memremap.putPages(pgmap, part.firstPfn - pgmap.firstPfn, part.count);

  return [
    { firstPfn: run.firstPfn, count: part.firstPfn - run.firstPfn },
    { firstPfn: partEnd, count: runEnd - partEnd },
  ].filter(({ count }) => count > 0);
}

/** The head of the block that the run pinned whole and that a border at `pfn` cuts in two. */
function blockCutAt(run: PfnRun, pfn: number): number | undefined {
  const head = roundDown(pfn, PAGES_PER_PMD);
  const whole = head >= run.firstPfn && head + PAGES_PER_PMD <= run.firstPfn + run.count;
  return head !== pfn && whole ? head : undefined;
}

function checkPinnable(pgmap: DevPagemap, firstPfn: number, count: number): void {
  if (!pgmap.holds(firstPfn, count)) {
    throw new DaxdError(
      'ENXIO',
      `pages ${firstPfn} to ${firstPfn + count} pass the data pages ` +
        `${pgmap.firstPfn} to ${pgmap.firstPfn + pgmap.pages} of the device`,
    );
  }
  if (pgmap.type === MemoryType.Private || pgmap.type === MemoryType.Public) {
    throw new DaxdError('EOPNOTSUPP', `page ${firstPfn} is device memory, which is not pinned`);
  }
}

function pinnedPagemap(memremap: Memremap, firstPfn: number, count: number): DevPagemap {
  const pgmap = memremap.findPagemap(firstPfn);
  assert(pgmap?.holds(firstPfn, count) === true, 'a pinned page keeps its pagemap');
  return pgmap;
}
