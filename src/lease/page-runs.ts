import { assert } from '../lib/assert.js';
import { PAGE_SIZE, isAligned } from '../lib/units.js';
import type { Memremap } from '../mm/memremap.js';
import { pinUserPages, unpinPartOf, unpinUserPages } from '../mm/gup.js';
import type { ByteRange } from '../lib/byte-range.js';

/** Whole pages that follow each other both in the file (or raw partition) and on the media. */
export interface PageRun {
  /** First byte within the file or raw partition; a multiple of PAGE_SIZE. */
  readonly offset: number;
  /** The same byte counted from the start of the backing; a multiple of PAGE_SIZE. */
  readonly deviceOffset: number;
  readonly length: number;
}

/** Joins neighbours; what comes in ascends by offset and does not overlap. */
export function joinRuns(runs: Iterable<PageRun>): PageRun[] {
  const joined: { offset: number; deviceOffset: number; length: number }[] = [];
  for (const { offset, deviceOffset, length } of runs) {
    assert(
      isAligned(offset, PAGE_SIZE) && isAligned(deviceOffset, PAGE_SIZE),
      'leases stand on whole pages of the backing',
    );
    const last = joined.at(-1);
    const follows =
      last !== undefined &&
      last.offset + last.length === offset &&
      last.deviceOffset + last.length === deviceOffset;
    if (follows) last.length += length;
    else joined.push({ offset, deviceOffset, length });
  }
  return joined;
}

/** What of `runs` lies in `ranges`; both ascending and disjoint, and so is the result. */
export function clipRuns(runs: readonly PageRun[], ranges: readonly ByteRange[]): PageRun[] {
  const clipped: PageRun[] = [];
  let next = 0;
  for (const { offset, length } of ranges) {
    const end = offset + length;
    while (next < runs.length && runEnd(runs[next]) <= offset) next++;
    // A run may reach into the next range too, so it is not consumed.
    for (let i = next; i < runs.length; i++) {
      const run = runs[i];
      if (run === undefined || run.offset >= end) break;
      clipped.push(slice(run, Math.max(offset, run.offset), Math.min(end, runEnd(run))));
    }
  }
  return clipped;
}

/** The byte after the last one of a run. */
export function runEnd(run: PageRun | undefined): number {
  return run === undefined ? 0 : run.offset + run.length;
}

/** Bytes of all runs together. */
export function bytesIn(runs: readonly PageRun[]): number {
  let bytes = 0;
  for (const { length } of runs) bytes += length;
  return bytes;
}

/**
 * Pins every page of the runs, or none.
 *
 * @throws DaxdError ENXIO when pages are gone, or about to go.
 */
export function pinRuns(memremap: Memremap, runs: readonly PageRun[]): void {
  let pinned = 0;
  try {
    for (const run of runs) {
      pinUserPages(memremap, firstPfn(run), pages(run));
      pinned++;
    }
  } catch (error) {
    unpinRuns(memremap, runs.slice(0, pinned));
    throw error;
  }
}

/** Gives back every page of the runs, as {@link pinRuns} or {@link unpinPages} left them. */
export function unpinRuns(memremap: Memremap, runs: readonly PageRun[]): void {
  for (const run of runs) unpinUserPages(memremap, firstPfn(run), pages(run));
}

/**
 * Gives back the pages of `runs` that lie in `cuts` (whole pages, ascending, disjoint) and
 * returns the runs that stay pinned.
 *
 * What stays of a cut run counts as pinned run by run again: a 2 MiB block that lost a page
 * went over to counts a page, and lies whole in none of the rests.
 */
export function unpinPages(
  memremap: Memremap,
  runs: readonly PageRun[],
  cuts: readonly ByteRange[],
): PageRun[] {
  const kept: PageRun[] = [];
  let next = 0;
  for (const run of runs) {
    let rest: PageRun | undefined = run;
    while (next < cuts.length && rest !== undefined) {
      const cut: ByteRange | undefined = cuts[next];
      if (cut === undefined || cut.offset >= rest.offset + rest.length) break;
      rest = unpinCut(memremap, rest, cut, kept);
      // A cut that reaches past this run goes on in the next one.
      if (rest !== undefined) next++;
    }
    if (rest !== undefined) kept.push(rest);
  }
  return kept;
}

/** Unpins what a run and a cut share; what lies before it is kept, what lies after returned. */
function unpinCut(
  memremap: Memremap,
  run: PageRun,
  cut: ByteRange,
  kept: PageRun[],
): PageRun | undefined {
  const end = run.offset + run.length;
  const from = Math.max(run.offset, cut.offset);
  const to = Math.min(end, cut.offset + cut.length);
  if (from >= to) return run;

  const part = slice(run, from, to);
  unpinPartOf(
    memremap,
    { firstPfn: firstPfn(run), count: pages(run) },
    { firstPfn: firstPfn(part), count: pages(part) },
  );
  if (from > run.offset) kept.push(slice(run, run.offset, from));
  return to < end ? slice(run, to, end) : undefined;
}

function slice(run: PageRun, from: number, to: number): PageRun {
  return {
    offset: from,
    deviceOffset: run.deviceOffset + (from - run.offset),
    length: to - from,
  };
}

function firstPfn({ deviceOffset }: PageRun): number {
  return deviceOffset / PAGE_SIZE;
}

function pages({ length }: PageRun): number {
  return length / PAGE_SIZE;
}
