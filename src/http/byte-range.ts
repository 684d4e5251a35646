import { HttpRefusal } from './problem.js';

/** Half-open bytes of a file that an answer carries. */
export interface ByteRange {
  readonly from: number;
  readonly to: number;
}

const SINGLE_RANGE = /^bytes=(\d{0,16})-(\d{0,16})$/;

/**
 * What a Range header asks of a file (RFC 9110, section 14.1.2).
 *
 * @param sizeBytes size of the file.
 * @returns the bytes; undefined for the whole file: no header, several ranges, or one that is
 *   malformed, which a server ignores.
 * @throws HttpRefusal 416 when no byte of the file is in it.
 */
export function requestedRange(
  header: string | undefined,
  sizeBytes: number,
): ByteRange | undefined {
  const [, first = '', last = ''] = SINGLE_RANGE.exec(header ?? '') ?? [];
  const range = first === '' ? suffix(last, sizeBytes) : bounded(first, last, sizeBytes);
  if (range !== undefined && range.from >= sizeBytes) {
    throw new HttpRefusal({
      status: 416,
      code: 'EINVAL',
      message: `range "${header}" starts at or behind the end of the file, at ${sizeBytes}`,
      headers: { 'content-range': `bytes */${sizeBytes}` },
    });
  }
  return range;
}

/** The last bytes of the file. */
function suffix(last: string, sizeBytes: number): ByteRange | undefined {
  return last === '' ? undefined : { from: Math.max(0, sizeBytes - Number(last)), to: sizeBytes };
}

/** From a byte on, up to another or to the end. */
function bounded(first: string, last: string, sizeBytes: number): ByteRange | undefined {
  const to = last === '' ? sizeBytes : Number(last) + 1;
  return to <= Number(first) && last !== ''
    ? undefined
    : { from: Number(first), to: Math.min(to, sizeBytes) };
}
