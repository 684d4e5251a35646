import type { ByteRange } from '../lib/byte-range.js';
import { PAGE_SIZE, roundDown, roundUp } from '../lib/units.js';

/** The same ranges in ascending order, those that touch or overlap made one. */
export function coalesce(ranges: readonly ByteRange[]): ByteRange[] {
  const first = ranges[0];
  // Nearly every lease is of one range, and each grant and release comes by here.
  if (first !== undefined && ranges.length === 1) {
    return [{ offset: first.offset, length: first.length }];
  }
  const merged: { offset: number; length: number }[] = [];
  for (const { offset, length } of ranges.toSorted((a, b) => a.offset - b.offset)) {
    const last = merged.at(-1);
    if (last !== undefined && offset <= last.offset + last.length) {
      last.length = Math.max(last.length, offset + length - last.offset);
    } else {
      merged.push({ offset, length });
    }
  }
  return merged;
}

/** What of `held` lies outside `cut`; both ascending and disjoint, and so is the result. */
export function subtract(held: readonly ByteRange[], cut: readonly ByteRange[]): ByteRange[] {
  const rest: ByteRange[] = [];
  let next = 0;
  for (const { offset, length } of held) {
    const end = offset + length;
    let from = offset;
    while (next < cut.length && endOf(cut[next]) <= from) next++;
    // A cut that reaches past this range may reach into the next one, so it is not consumed.
    for (let i = next; i < cut.length && from < end; i++) {
      const hole = cut[i];
      if (hole === undefined || hole.offset >= end) break;
      if (hole.offset > from) rest.push({ offset: from, length: hole.offset - from });
      from = Math.max(from, endOf(hole));
    }
    if (from < end) rest.push({ offset: from, length: end - from });
  }
  return rest;
}

/** The whole pages that hold a byte of `ranges`, as ascending, disjoint byte ranges. */
export function pagesCovering(ranges: readonly ByteRange[]): ByteRange[] {
  return coalesce(
    ranges.map(({ offset, length }) => {
      const from = roundDown(offset, PAGE_SIZE);
      return { offset: from, length: roundUp(offset + length, PAGE_SIZE) - from };
    }),
  );
}

/** The whole pages with a byte of [from, to); `to` may be Infinity. */
export function pagesAround({ from, to }: { readonly from: number; readonly to: number }): {
  readonly from: number;
  readonly to: number;
} {
  const end = to === Infinity ? to : roundUp(to, PAGE_SIZE);
  return { from: roundDown(from, PAGE_SIZE), to: end };
}

function endOf(range: ByteRange | undefined): number {
  return range === undefined ? 0 : range.offset + range.length;
}
