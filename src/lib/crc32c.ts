import { crc32c as finishedCrc32c } from '@node-rs/crc32';

/** Seed of a chain that starts from nothing. */
export const CRC_INIT = 0xffffffff;

/**
 * crc32c as ext4 and jbd2 chain it: the polynomial alone, without the inversions before and
 * after that the common function adds.
 *
 * @hot Once for each metadata structure read or written.
 * @kernel ext4_chksum (fs/ext4/ext4.h), jbd2_chksum (include/linux/jbd2.h)
 */
export function crc32c(seed: number, bytes: Uint8Array): number {
  return ~finishedCrc32c(bytes, ~seed >>> 0) >>> 0;
}

/**
 * Chains a little-endian 32-bit number, without the call out of JavaScript that costs more than
 * four bytes are worth.
 *
 * @hot Once for each inode whose tree or directory is read.
 */
export function crc32cU32(seed: number, value: number): number {
  let crc = seed ^ value;
  for (let byte = 0; byte < 4; byte++) crc = (crc >>> 8) ^ (TABLE[crc & 0xff] ?? 0);
  return crc >>> 0;
}

/** The polynomial of Castagnoli, bits reversed. */
const POLYNOMIAL = 0x82f63b78;

/** What each value of the lowest byte turns into. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) * POLYNOMIAL);
  return crc;
});
