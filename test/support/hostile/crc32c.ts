/**
 * The checksum of ext4 as its own polynomial says it, bit by bit in a table: written again
 * here, so that a mistake of daxd's own does not seal what it then finds right.
 */
const POLYNOMIAL = 0x82f63b78;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ ((sum & 1) * POLYNOMIAL);
  return sum;
});

/** Goes on from `sum`, without inversion before or after, as the kernel does. */
export function crc(sum: number, bytes: Uint8Array): number {
  let state = sum;
  for (let i = 0; i < bytes.length; i++) {
    state = (state >>> 8) ^ (TABLE[(state ^ (bytes[i] ?? 0)) & 0xff] ?? 0);
  }
  return state >>> 0;
}

/** As {@link crc}, with `length` bytes at `offset` read as zeros. */
export function crcExcept(sum: number, bytes: Buffer, offset: number, length: number): number {
  const before = crc(sum, bytes.subarray(0, offset));
  const own = crc(before, Buffer.alloc(length));
  return crc(own, bytes.subarray(offset + length));
}

export function le32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}
