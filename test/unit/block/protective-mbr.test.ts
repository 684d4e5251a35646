import t from 'tap';

import { encodeProtectiveMbr, mbrKind } from '../../../src/block/protective-mbr.js';

t.test('encodeProtectiveMbr: one entry of type 0xEE from LBA 1 over the disk', async (t) => {
  const sector = encodeProtectiveMbr(1000);
  t.equal(sector.toString('hex', 446, 462), '00000200eeffffff01000000e7030000');
  t.equal(sector.toString('hex', 510), '55aa');
  t.equal(mbrKind(sector), 'protective');
});

t.test('encodeProtectiveMbr: a disk beyond 32 bits of sectors says so', async (t) => {
  t.equal(encodeProtectiveMbr(2 ** 40).readUInt32LE(458), 0xffffffff);
});

t.test('mbrKind: tells no MBR and one of another use', async (t) => {
  t.equal(mbrKind(Buffer.alloc(512)), 'none');
  const sector = encodeProtectiveMbr(1000);
  sector.writeUInt8(0x83, 450);
  t.equal(mbrKind(sector), 'dos');
  sector.writeUInt8(0xee, 450);
  sector.writeUInt32LE(2, 454);
  t.equal(mbrKind(sector), 'dos', 'it must start at LBA 1');
});
