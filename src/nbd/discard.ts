import type { BackingRange } from '../media/backing-range.js';
import { punchHole, zeroRange } from '../media/punch-hole.js';
import type { RawMemory } from '../media/raw-memory.js';
import type { DevPagemap } from '../mm/dev-pagemap.js';
import { PAGE_SIZE, roundDown, roundUp } from '../lib/units.js';
import type { Discarded, DiscardKind } from './main-calls.js';

interface Run {
  readonly start: number;
  readonly end: number;
}

/**
 * Gives up what lies in a range: by holes, or by blocks that read as zeros, either of which
 * takes pages from under whoever maps them. It runs on the thread that pins, in one go, so no
 * pin can come between the look at a page and what is done to it.
 *
 * Pages that are pinned, and pages that the range covers in part, are left to the caller.
 *
 * @param range of the backing that the export is.
 * @throws DaxdError EOPNOTSUPP where the backing cannot do it, and nothing was done; EIO, ENOSPC.
 */
export function discard(
  {
    memory,
    pgmap,
    range,
  }: { memory: RawMemory; pgmap: DevPagemap | undefined; range: BackingRange },
  { kind, offset, length }: { kind: DiscardKind; offset: number; length: number },
): Discarded {
  // A hole past the end of a file is no error to fallocate.
  range.backing.checkSize();
  const asked = { start: range.start + offset, end: range.start + offset + length };
  const whole = {
    start: Math.min(asked.end, roundUp(asked.start, PAGE_SIZE)),
    end: Math.max(asked.start, roundDown(asked.end, PAGE_SIZE)),
  };
  const left: Run[] = [];
  if (whole.start >= whole.end) left.push(asked);
  else {
    left.push({ start: asked.start, end: whole.start });
    for (const run of runs(whole, pgmap)) {
      if (run.pinned) left.push(run);
      else (kind === 'punch' ? punchHole : zeroRange)(memory, run.start, run.end - run.start);
    }
    left.push({ start: whole.end, end: asked.end });
  }
  return {
    left: left
      .filter(({ start, end }) => end > start)
      .map(({ start, end }) => ({ offset: start - range.start, length: end - start })),
    pinnedPages: pinnedPages(whole, pgmap),
  };
}

/** Runs of pages that are all pinned or all idle, in bytes of the backing. */
function* runs(
  { start, end }: Run,
  pgmap: DevPagemap | undefined,
): Generator<Run & { readonly pinned: boolean }> {
  if (pgmap === undefined) {
    yield { start, end, pinned: false };
    return;
  }
  const { refs, firstPfn } = pgmap;
  const pages = refs.runs(start / PAGE_SIZE - firstPfn, (end - start) / PAGE_SIZE);
  for (const { first, count, isPinned } of pages) {
    const from = (firstPfn + first) * PAGE_SIZE;
    yield { start: from, end: from + count * PAGE_SIZE, pinned: isPinned };
  }
}

function pinnedPages({ start, end }: Run, pgmap: DevPagemap | undefined): number {
  if (pgmap === undefined || start >= end) return 0;
  return pgmap.refs.pinnedPages(start / PAGE_SIZE - pgmap.firstPfn, (end - start) / PAGE_SIZE);
}
