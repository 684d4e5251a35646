import { PAGE_SIZE, roundDown, roundUp } from '../lib/units.js';
import { coalesce } from './byte-ranges.js';
import type { ByteRange } from '../lib/byte-range.js';
import { runEnd } from './page-runs.js';
import type { PageRun } from './page-runs.js';

/** The bytes that a lease asked for. */
type Asked = ByteRange;

/** What a lease holds, piece by piece. */
export interface Pieces {
  /** The bytes not released yet: ascending, disjoint. */
  readonly ranges: readonly ByteRange[];
  /** The pages pinned for them, ascending by offset. */
  readonly runs: readonly PageRun[];
}

/**
 * What a lease holds: where its pages begin on the device while it holds all that it asked for,
 * in one run, as nearly all do; else the pieces. Of a million leases the pieces would be a
 * quarter of the memory.
 */
export type Holding = number | Pieces;

/** The shortest way to say what is held of `asked`. */
export function holdingOf(asked: Asked, pieces: Pieces): Holding {
  const [range] = pieces.ranges;
  const [run] = pieces.runs;
  if (range === undefined || pieces.ranges.length > 1) return pieces;
  if (run === undefined || pieces.runs.length > 1) return pieces;
  const holdsAll = range.offset === asked.offset && range.length === asked.length;
  return holdsAll && isOfAllPages(asked, run.offset, runEnd(run)) ? run.deviceOffset : pieces;
}

/** Whether a run from one byte to another is of all pages with a byte of `asked`. */
export function isOfAllPages(asked: Asked, from: number, to: number): boolean {
  return from === firstPage(asked) && to === pagesEnd(asked);
}

/** The bytes held. */
export function rangesOf({ offset, length }: Asked, holding: Holding): readonly ByteRange[] {
  return typeof holding === 'number' ? [{ offset, length }] : holding.ranges;
}

/** The pages pinned for them. */
export function runsIn(asked: Asked, holding: Holding): readonly PageRun[] {
  if (typeof holding !== 'number') return holding.runs;
  const offset = firstPage(asked);
  return [{ offset, deviceOffset: holding, length: pagesEnd(asked) - offset }];
}

/**
 * Tells the pages pinned, in bytes of the file: neighbours as one, wherever on the media they
 * lie. Allocates nothing where there is one run.
 */
export function eachPinned(
  asked: Asked,
  holding: Holding,
  take: (offset: number, length: number) => void,
): void {
  if (typeof holding === 'number') {
    const offset = firstPage(asked);
    take(offset, pagesEnd(asked) - offset);
    return;
  }
  for (const { offset, length } of coalesce(holding.runs)) take(offset, length);
}

function firstPage({ offset }: Asked): number {
  return roundDown(offset, PAGE_SIZE);
}

/** The byte after the last page. */
function pagesEnd({ offset, length }: Asked): number {
  return roundUp(offset + length, PAGE_SIZE);
}
