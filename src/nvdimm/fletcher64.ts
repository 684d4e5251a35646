import { assert } from '../lib/assert.js';

const WORD_BYTES = 4;

/**
 * The checksum of an info block: two sums of little-endian 32-bit words, both modulo 2 ** 32
 * (a textbook Fletcher sum is modulo 2 ** 32 - 1), the second in the high half.
 *
 * @param bytes a multiple of 4 bytes, with the checksum field already zero
 * @kernel nd_fletcher64 (drivers/nvdimm/core.c)
 */
export function fletcher64(bytes: Buffer): bigint {
  assert(bytes.length % WORD_BYTES === 0, 'a fletcher64 sum is over whole words');
  let low = 0;
  let high = 0;
  for (let at = 0; at < bytes.length; at += WORD_BYTES) {
    low = (low + bytes.readUInt32LE(at)) >>> 0;
    high = (high + low) >>> 0;
  }
  return (BigInt(high) << 32n) | BigInt(low);
}
