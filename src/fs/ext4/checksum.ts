import { crc32c as finishedCrc32c } from '@node-rs/crc32';

/** Seed of a chain that starts from nothing, as the superblock's own checksum does. */
export const CRC_INIT = 0xffffffff;

const word = Buffer.alloc(4);
const longWord = Buffer.alloc(8);

/**
 * crc32c as ext4 chains it: the polynomial alone, without the inversions before and after
 * that the common function adds.
 *
 * @hot Once for each metadata structure read or written.
 * @kernel ext4_chksum (fs/ext4/ext4.h)
 */
export function crc32c(seed: number, bytes: Uint8Array): number {
  return ~finishedCrc32c(bytes, ~seed >>> 0) >>> 0;
}

/** Chains a little-endian 32-bit number. */
export function crc32cU32(seed: number, value: number): number {
  word.writeUInt32LE(value);
  return crc32c(seed, word);
}

/** Chains a little-endian 64-bit number below 2 ** 53, such as a block number. */
export function crc32cU64(seed: number, value: number): number {
  longWord.writeUInt32LE(value % 2 ** 32, 0);
  longWord.writeUInt32LE(Math.floor(value / 2 ** 32), 4);
  return crc32c(seed, longWord);
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
