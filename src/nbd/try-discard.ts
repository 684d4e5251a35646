import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE } from '../lib/units.js';
import type { BackingRange } from '../media/backing-range.js';
import { punchHole, zeroRange } from '../media/punch-hole.js';
import type { RawMemory } from '../media/raw-memory.js';
import type { DevPagemap } from '../mm/dev-pagemap.js';
import type { DiscardRequest } from './main-calls.js';

/**
 * Whether the backing can give up bytes in that way, tried on one byte of what is to be zeros
 * anyway: it lies in a page that nobody pins, from under whom the page could be taken.
 *
 * @param range of the backing that the export is.
 * @returns false where the backing cannot, or where each page of the range is pinned; then
 *   nothing was done.
 * @throws DaxdError EIO, ENOSPC.
 */
export function tryDiscard(
  {
    memory,
    pgmap,
    range,
  }: { memory: RawMemory; pgmap: DevPagemap | undefined; range: BackingRange },
  { kind, offset, length }: DiscardRequest,
): boolean {
  range.backing.checkSize();
  const start = range.start + offset;
  const at = idleByte(pgmap, start, start + length);
  if (at === undefined) return false;
  try {
    (kind === 'punch' ? punchHole : zeroRange)(memory, at, 1);
    return true;
  } catch (failure) {
    if (failure instanceof DaxdError && failure.code === 'EOPNOTSUPP') return false;
    throw failure;
  }
}

/** The first byte of a range, in bytes of the backing, whose page nobody pins. */
function idleByte(pgmap: DevPagemap | undefined, start: number, end: number): number | undefined {
  if (pgmap === undefined) return start;
  const firstPage = Math.floor(start / PAGE_SIZE) - pgmap.firstPfn;
  const pages = Math.ceil(end / PAGE_SIZE) - pgmap.firstPfn - firstPage;
  for (const { first, isPinned } of pgmap.refs.runs(firstPage, pages)) {
    if (!isPinned) return Math.max(start, (pgmap.firstPfn + first) * PAGE_SIZE);
  }
  return undefined;
}
