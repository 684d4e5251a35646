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
