import { crc32c, crc32cU32 } from '../../lib/crc32c.js';

/** Chains a little-endian 64-bit number below 2 ** 53, such as a block number. */
export function crc32cU64(seed: number, value: number): number {
  return crc32cU32(crc32cU32(seed, value % 2 ** 32), Math.floor(value / 2 ** 32));
}

/**
 * Chains `bytes` with `length` bytes at `offset` taken as zero: a structure whose checksum
 * lies inside it.
 */
export function crc32cExcept(
  seed: number,
  bytes: Uint8Array,
  { offset, length }: { offset: number; length: number },
): number {
  const head = crc32c(seed, bytes.subarray(0, offset));
  const zeros = crc32c(head, ZEROS.subarray(0, length));
  return crc32c(zeros, bytes.subarray(offset + length));
}

const ZEROS = Buffer.alloc(16);

/** Seed of everything that belongs to an inode: its attributes, tree and directory blocks. */
export function inodeChecksumSeed(fsSeed: number, inode: number, generation: number): number {
  return crc32cU32(crc32cU32(fsSeed, inode), generation);
}
