import type { BlockRun } from '../block-run.js';

/** A stretch of a file that lies in one piece; all in blocks of 4096 bytes. */
export interface Extent {
  readonly logical: number;
  readonly physical: number;
  readonly length: number;
  /** Has blocks, but reads as zeros: what they hold is not the file's. */
  readonly unwritten: boolean;
}

/** Whether the blocks of an extent hold what the file reads as. */
export type ExtentState = 'written' | 'unwritten';

/** Logical blocks [from, to) of a file; `to` may be Infinity. */
export interface BlockSpan {
  readonly from: number;
  readonly to: number;
}

/** A span with nothing in it. */
export const NO_BLOCKS: BlockSpan = { from: 0, to: 0 };

/** The parts of ascending extents inside a span. */
export function clipExtents(extents: readonly Extent[], { from, to }: BlockSpan): Extent[] {
  const clipped: Extent[] = [];
  for (const extent of extents) {
    const start = Math.max(extent.logical, from);
    const end = Math.min(extent.logical + extent.length, to);
    if (start < end) clipped.push(partOf(extent, start, end));
  }
  return clipped;
}

/** Ascending extents without the parts inside a span. */
export function cutExtents(extents: readonly Extent[], { from, to }: BlockSpan): Extent[] {
  return [
    ...clipExtents(extents, { from: 0, to: from }),
    ...clipExtents(extents, { from: to, to: Infinity }),
  ];
}

/** Ascending extents without some ascending parts of them. */
export function subtractExtents(extents: readonly Extent[], gone: readonly Extent[]): Extent[] {
  const kept: Extent[] = [];
  let next = 0;
  for (const extent of extents) {
    const end = extent.logical + extent.length;
    let from = extent.logical;
    for (let part = gone[next]; part !== undefined && part.logical < end; part = gone[++next]) {
      if (part.logical > from) kept.push(partOf(extent, from, part.logical));
      from = part.logical + part.length;
    }
    if (from < end) kept.push(partOf(extent, from, end));
  }
  return kept;
}

/** Ascending extents in groups of neighbours: each group is changed in a tree by one splice. */
export function nearExtents(extents: readonly Extent[]): Extent[][] {
  const groups: Extent[][] = [];
  for (const extent of extents) {
    const group = groups.at(-1);
    const last = group?.at(-1);
    const isNear =
      last !== undefined && extent.logical - last.logical - last.length <= NEAR_BLOCKS_MAX;
    if (isNear && group !== undefined && group.length < NEAR_EXTENTS_MAX) group.push(extent);
    else groups.push([extent]);
  }
  return groups;
}

/** The span from the first to the last of ascending extents. */
export function spanOf(extents: readonly Extent[]): BlockSpan {
  const first = extents[0];
  const last = extents.at(-1);
  if (first === undefined || last === undefined) return NO_BLOCKS;
  return { from: first.logical, to: last.logical + last.length };
}

/** Between these, few others can lie: a splice rewrites them, too. */
const NEAR_BLOCKS_MAX = 512;
const NEAR_EXTENTS_MAX = 1024;

/** The stretches of a span that no extent covers; `span.to` is finite. */
export function holesOf(extents: readonly Extent[], span: BlockSpan): BlockSpan[] {
  const holes: BlockSpan[] = [];
  let from = span.from;
  for (const extent of clipExtents(extents, span)) {
    if (extent.logical > from) holes.push({ from, to: extent.logical });
    from = extent.logical + extent.length;
  }
  if (from < span.to) holes.push({ from, to: span.to });
  return holes;
}

/** The written ones: only their blocks hold what the file reads as. */
export function writtenOf(extents: readonly Extent[]): Extent[] {
  return extents.filter(({ unwritten }) => !unwritten);
}

/** Ascending extents with the parts inside a span made written or unwritten. */
export function convertExtents(
  extents: readonly Extent[],
  span: BlockSpan,
  state: ExtentState,
): Extent[] {
  const unwritten = state === 'unwritten';
  const converted = clipExtents(extents, span).map((extent) => ({ ...extent, unwritten }));
  return joinExtents([...cutExtents(extents, span), ...converted]);
}

/** Sorted, and neighbours that lie next to each other on the media made one. */
export function joinExtents(extents: readonly Extent[]): Extent[] {
  const joined: Extent[] = [];
  for (const extent of extents.toSorted((a, b) => a.logical - b.logical)) {
    const last = joined.at(-1);
    if (last !== undefined && goesOn(last, extent)) joined[joined.length - 1] = asOne(last, extent);
    else joined.push(extent);
  }
  return joined;
}

/** Whether an extent begins where another ends, in the file and on the media, and is of its kind. */
export function goesOn(last: Extent, extent: Extent): boolean {
  return (
    last.unwritten === extent.unwritten &&
    last.logical + last.length === extent.logical &&
    last.physical + last.length === extent.physical
  );
}

/** An extent and the one that {@link goesOn} behind it. */
export function asOne(last: Extent, { length }: Extent): Extent {
  return { ...last, length: last.length + length };
}

/** Lays runs of blocks into a file from `logical` on. */
export function layRuns(runs: readonly BlockRun[], logical: number, state: ExtentState): Extent[] {
  const unwritten = state === 'unwritten';
  let next = logical;
  return runs.map(({ start, count }) => {
    const extent = { logical: next, physical: start, length: count, unwritten };
    next += count;
    return extent;
  });
}

/** Blocks of all extents. */
export function countBlocks(extents: readonly Extent[]): number {
  return extents.reduce((total, { length }) => total + length, 0);
}

function partOf(extent: Extent, start: number, end: number): Extent {
  return {
    logical: start,
    physical: extent.physical + start - extent.logical,
    length: end - start,
    unwritten: extent.unwritten,
  };
}
