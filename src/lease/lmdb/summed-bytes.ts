import { CRC_INIT, crc32c } from '../../lib/crc32c.js';
import { DaxdError } from '../../lib/errno.js';

const SUM_BYTES = 4;

/** How values stand in a store: the crc32c of their bytes, little-endian, then the bytes. */
export const summedBytes = {
  encode(bytes: Uint8Array): Buffer {
    const summed = Buffer.allocUnsafe(SUM_BYTES + bytes.length);
    summed.writeUInt32LE(crc32c(CRC_INIT, bytes));
    summed.set(bytes, SUM_BYTES);
    return summed;
  },

  /**
   * The bytes, where they lie; null where the sum is of others.
   *
   * @hot Once for each lease that a store keeps, at start.
   */
  decode(summed: Uint8Array): Buffer | null {
    // The length that LMDB gives its buffer is that of the value, and not how long it is.
    const { buffer, byteOffset, length } = summed;
    if (length < SUM_BYTES) return null;
    const [a = 0, b = 0, c = 0, d = 0] = [summed[0], summed[1], summed[2], summed[3]];
    const sum = (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
    const bytes = Buffer.from(buffer, byteOffset + SUM_BYTES, length - SUM_BYTES);
    return crc32c(CRC_INIT, bytes) === sum ? bytes : null;
  },
};

/** How every database of a store is opened. */
export const SUMMED = { encoding: 'binary', encoder: summedBytes } as const;

/** A value that was read, good until the next read; null is one whose checksum is wrong. */
export type SummedValue = Buffer | null;

/**
 * The bytes of a value.
 *
 * @param what which one it is, for the message.
 * @throws DaxdError EBADMSG where its checksum is wrong.
 */
export function wholeBytes(value: SummedValue, what: string): Buffer {
  if (value === null) throw new DaxdError('EBADMSG', `${what}: its checksum is wrong`);
  return value;
}
