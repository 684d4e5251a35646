import { DaxdError } from './errno.js';

/** Bytes of one page, one ext4 block and one page-count entry. */
export const PAGE_SIZE = 4096;
/** Bytes of one sector, the unit of a GPT. */
export const SECTOR_SIZE = 512;
/** What stat counts blocks in, whatever the filesystem's own are (stat(2)). */
export const STAT_BLOCK_BYTES = 512;
/** Bytes of a PMD-mapped block, the unit of a whole-block pin. */
export const PMD_SIZE = 2 * 1024 * 1024;
/** Pages in a block of {@link PMD_SIZE}. */
export const PAGES_PER_PMD = PMD_SIZE / PAGE_SIZE;

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;
export const TIB = 1024 * GIB;

/** The largest multiple of `unit` that is not above `value`. Exact below 2 ** 53. */
export function roundDown(value: number, unit: number): number {
  return value - (value % unit);
}

/** The smallest multiple of `unit` that is not below `value`. Exact below 2 ** 53. */
export function roundUp(value: number, unit: number): number {
  return roundDown(value + unit - 1, unit);
}

/** Whether `value` is a multiple of `unit`. */
export function isAligned(value: number, unit: number): boolean {
  return value % unit === 0;
}

/** Whether `value`, 1 or more, is `base` to some power, 0 included. */
export function isPowerOf(value: number, base: number): boolean {
  let power = 1;
  while (power < value) power *= base;
  return power === value;
}

const SUFFIX_BYTES: Readonly<Record<string, number>> = { '': 1, K: KIB, M: MIB, G: GIB, T: TIB };

/**
 * Reads a size such as `4096`, `4K`, `256M`, `1G` or `2T` (powers of 1024) as bytes.
 *
 * @throws DaxdError EINVAL when it is not such a size, or is 2 ** 53 or more.
 */
export function parseSize(text: string): number {
  const match = /^(\d+)([KMGT]?)$/.exec(text);
  if (match === null) {
    throw new DaxdError(
      'EINVAL',
      `"${text}" is not a size: give bytes, or a number with K, M, G or T`,
    );
  }
  const bytes = Number(match[1]) * (SUFFIX_BYTES[match[2] ?? ''] ?? NaN);
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new DaxdError('EINVAL', `"${text}" is 2^53 bytes or more: give less`);
}
