import type { LentBytes, LentExtent } from './lease-view.js';

/** Whether all of them are whole bytes, 0 or more, in number and place. */
export function areRanges(ranges: readonly LentBytes[]): boolean {
  return ranges.every(({ offset, length }) =>
    [offset, length, offset + length].every((value) => Number.isSafeInteger(value) && value >= 0),
  );
}

/** What of `held` lies from `from` up to `end`. */
export function between(held: readonly LentBytes[], from: number, end: number): LentBytes[] {
  return held.flatMap((range) => {
    const offset = Math.max(range.offset, from);
    const length = Math.min(range.offset + range.length, end) - offset;
    return length > 0 ? [{ offset, length }] : [];
  });
}

/** What of `held` lies outside `cut`. */
export function without(held: readonly LentBytes[], cut: readonly LentBytes[]): LentBytes[] {
  let rest = [...held];
  for (const { offset, length } of cut) {
    if (length === 0) continue;
    rest = rest.flatMap((range) => [
      ...between([range], 0, offset),
      ...between([range], offset + length, Infinity),
    ]);
  }
  return rest;
}

/** What of the extents holds bytes of `ranges`. */
export function clipExtents(
  extents: readonly LentExtent[],
  ranges: readonly LentBytes[],
): LentExtent[] {
  return extents.flatMap(({ file_offset: from, device_offset: at, length: all }) =>
    between(ranges, from, from + all).map(({ offset, length }) => ({
      file_offset: offset,
      device_offset: at + (offset - from),
      length,
    })),
  );
}
