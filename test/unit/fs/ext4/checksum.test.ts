import t from 'tap';

import { crc32cExcept, crc32cU64, inodeChecksumSeed } from '../../../../src/fs/ext4/checksum.js';
import { crc32c, crc32cU32, CRC_INIT } from '../../../../src/lib/crc32c.js';

const CHECK = Buffer.from('123456789');

/** Bit by bit, from the definition: the reflected polynomial of Castagnoli. */
function slowCrc(seed: number, bytes: Uint8Array): number {
  let crc = seed;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) {
      crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    }
  }
  return crc >>> 0;
}

t.test('crc32c: the published check value, without the last inversion', async (t) => {
  t.equal(~crc32c(CRC_INIT, CHECK) >>> 0, 0xe3069283);
  t.equal(crc32c(CRC_INIT, CHECK), slowCrc(CRC_INIT, CHECK));
  t.equal(crc32c(0x12345678, CHECK), slowCrc(0x12345678, CHECK));
  t.equal(crc32c(5, Buffer.alloc(0)), 5, 'nothing changes nothing');
});

t.test('crc32c: chains', async (t) => {
  const chained = crc32c(crc32c(CRC_INIT, CHECK.subarray(0, 4)), CHECK.subarray(4));
  t.equal(chained, crc32c(CRC_INIT, CHECK));
});

t.test('crc32cU32, crc32cU64: little endian, up to 2 ** 53', async (t) => {
  t.equal(crc32cU32(1, 0x04030201), crc32c(1, Buffer.from([1, 2, 3, 4])));
  const bytes = Buffer.from([8, 7, 6, 5, 4, 3, 2, 0]);
  t.equal(crc32cU64(1, Number(bytes.readBigUInt64LE())), crc32c(1, bytes));
});

t.test('crc32cExcept: a stretch counts as zeros', async (t) => {
  const zeroed = Buffer.from(CHECK).fill(0, 2, 4);
  t.equal(crc32cExcept(7, CHECK, { offset: 2, length: 2 }), crc32c(7, zeroed));
  t.equal(crc32cExcept(7, CHECK, { offset: 0, length: 0 }), crc32c(7, CHECK));
});

t.test('inodeChecksumSeed: number, then generation', async (t) => {
  const bytes = Buffer.from([14, 0, 0, 0, 1, 2, 3, 4]);
  t.equal(inodeChecksumSeed(99, 14, 0x04030201), crc32c(99, bytes));
});
