import type { ByteRange } from '../lib/byte-range.js';
import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE, roundDown, roundUp } from '../lib/units.js';

/** What of a mapped range is to be cut off; all in bytes from the start of the backing. */
export interface CutRequest {
  /** What was lent. */
  readonly lent: ByteRange;
  /** What stays lent. */
  readonly kept: readonly ByteRange[];
  /** What can be mapped at once, in bytes: a power of two, a page or more. */
  readonly align: number;
}

/**
 * The units of `align` bytes around what was lent in which nothing is kept, neighbours made one.
 *
 * @throws DaxdError EINVAL where a page without anything kept shares a unit with what is: it
 *   cannot be cut off alone.
 */
export function unitsToCut({ lent, kept, align }: CutRequest): ByteRange[] {
  const units = unitsWithout(lent, kept, align);
  if (align === PAGE_SIZE) return units;
  const pages = unitsWithout(lent, kept, PAGE_SIZE);
  for (const { offset, length } of pages) {
    const isCut = units.some(
      (unit) => unit.offset <= offset && offset + length <= unit.offset + unit.length,
    );
    if (!isCut) {
      throw new DaxdError(
        'EINVAL',
        `bytes ${offset} to ${offset + length} of the backing cannot be given back alone: its node maps ${align} bytes at once, give back whole ones of them`,
      );
    }
  }
  return units;
}

function unitsWithout(lent: ByteRange, kept: readonly ByteRange[], align: number): ByteRange[] {
  const lentEnd = lent.offset + lent.length;
  const around = { from: roundDown(lent.offset, align), to: roundUp(lentEnd, align) };
  const units: ByteRange[] = [];
  let from = around.from;
  const cutUpTo = (to: number): void => {
    if (from < to) units.push({ offset: from, length: to - from });
  };
  for (const { offset, length } of kept.toSorted((a, b) => a.offset - b.offset)) {
    const first = Math.max(offset, lent.offset);
    const end = Math.min(offset + length, lentEnd);
    if (first >= end) continue;
    cutUpTo(roundDown(first, align));
    from = Math.max(from, roundUp(end, align));
  }
  cutUpTo(around.to);
  return units;
}
