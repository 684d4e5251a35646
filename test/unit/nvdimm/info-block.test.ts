import t from 'tap';

import { DaxdError } from '../../../src/lib/errno.js';
import { MIB } from '../../../src/lib/units.js';
import {
  decodeInfoBlock,
  encodeInfoBlock,
  INFO_BLOCK_BYTES,
  infoBlockChecksumHolds,
  InfoBlockSignature,
  infoBlockSignature,
  type PfnSuperblock,
  sealInfoBlock,
} from '../../../src/nvdimm/info-block.js';
import { ndPfnCreate } from '../../../src/nvdimm/nd-pfn-create.js';

const uuid = '11111111-2222-3333-4444-555555555555';

/** A block in which every field has a value of its own. */
const distinct: PfnSuperblock = {
  signature: InfoBlockSignature.Dax,
  uuid: '00112233-4455-6677-8899-aabbccddeeff',
  parentUuid: 'ffeeddcc-bbaa-9988-7766-554433221100',
  flags: 0x01020304,
  versionMajor: 0x0506,
  versionMinor: 0x0708,
  dataoff: 0x0910_1112_1314,
  npfns: 0x1516_1718_1920,
  mode: 0x21222324,
  startPad: 0x25262728,
  endTrunc: 0x29303132,
  align: 0x33343536,
  pageSize: 0x37383940,
  pageStructSize: 0x4142,
};

t.test('encodeInfoBlock: every field lies where the format puts it, little-endian', async (t) => {
  const block = encodeInfoBlock(distinct);
  t.equal(block.length, INFO_BLOCK_BYTES);
  t.equal(block.toString('latin1', 0, 16), 'NVDIMM_DAX_INFO\0');
  t.equal(block.toString('hex', 16, 32), '00112233445566778899aabbccddeeff', 'in text order');
  t.equal(block.toString('hex', 32, 48), 'ffeeddccbbaa99887766554433221100');
  t.equal(
    block.toString('hex', 48, 94),
    '04030201' +
      '0605' +
      '0807' +
      '1413121110090000' +
      '2019181716150000' +
      '24232221' +
      '28272625' +
      '32313029' +
      '36353433' +
      '40393837' +
      '4241',
  );
  t.ok(
    block.subarray(94, 4088).every((byte) => byte === 0),
    'the padding is zero',
  );
});

t.test('decodeInfoBlock: gives back what was encoded', async (t) => {
  t.strictSame(decodeInfoBlock(encodeInfoBlock(distinct)), distinct);
});

t.test('decodeInfoBlock: fields that an older version lacks get their old meaning', async (t) => {
  const decodeAs = (versionMinor: number): PfnSuperblock =>
    decodeInfoBlock(encodeInfoBlock({ ...distinct, versionMinor }));
  t.match(decodeAs(0), { startPad: 0, endTrunc: 0, align: 0, pageSize: 4096, pageStructSize: 64 });
  t.match(decodeAs(1), { startPad: distinct.startPad, align: 0, pageSize: 4096 });
  t.match(decodeAs(2), { align: distinct.align, pageSize: 4096, pageStructSize: 64 });
  t.match(decodeAs(3), { pageSize: 4096, pageStructSize: 64 });
  t.match(decodeAs(4), { pageSize: distinct.pageSize, pageStructSize: distinct.pageStructSize });
});

t.test('encodeInfoBlock: refuses a uuid that is none', async (t) => {
  t.throws(() => encodeInfoBlock({ ...distinct, uuid: '1234' }), DaxdError, 'EINVAL');
});

t.test('infoBlockChecksumHolds: as sealed, and not after one bit', async (t) => {
  const block = encodeInfoBlock(
    ndPfnCreate({ map: 'dev', align: 2 * MIB, uuid, namespaceBytes: 256 * MIB }),
  );
  t.equal(block.readBigUInt64LE(4088), 0x92735773d2c60f3en, 'the sum that ndctl writes');
  t.ok(infoBlockChecksumHolds(block));
  block.writeUInt8(1, 3000);
  t.notOk(infoBlockChecksumHolds(block));
  sealInfoBlock(block);
  t.ok(infoBlockChecksumHolds(block));
});

t.test('infoBlockSignature: fsdax, devdax, or neither', async (t) => {
  const block = encodeInfoBlock(distinct);
  t.equal(infoBlockSignature(block), InfoBlockSignature.Dax);
  t.equal(
    infoBlockSignature(encodeInfoBlock({ ...distinct, signature: InfoBlockSignature.Pfn })),
    InfoBlockSignature.Pfn,
  );
  block.writeUInt8(1, 15);
  t.equal(infoBlockSignature(block), undefined, 'the last of the 16 bytes counts too');
});
