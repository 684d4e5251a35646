import t from 'tap';

import { DaxdError, type ErrorCode } from '../../../src/lib/errno.js';
import { GIB, MIB } from '../../../src/lib/units.js';
import {
  encodeInfoBlock,
  InfoBlockSignature,
  type PfnSuperblock,
  sealInfoBlock,
} from '../../../src/nvdimm/info-block.js';
import { ndPfnCreate } from '../../../src/nvdimm/nd-pfn-create.js';
import { ndPfnValidate, type ValidateOptions } from '../../../src/nvdimm/nd-pfn-validate.js';

const uuid = '11111111-2222-3333-4444-555555555555';
const namespaceBytes = 256 * MIB;
const good = ndPfnCreate({ map: 'dev', align: 2 * MIB, uuid, namespaceBytes });
const options: ValidateOptions = { signature: InfoBlockSignature.Pfn, namespaceBytes };

function codeOf(block: Buffer, given: ValidateOptions = options): ErrorCode | undefined {
  try {
    ndPfnValidate(block, given);
    return undefined;
  } catch (error) {
    if (error instanceof DaxdError) return error.code;
    throw error;
  }
}

function messageOf(sb: PfnSuperblock, given: ValidateOptions = options): string {
  try {
    ndPfnValidate(encodeInfoBlock(sb), given);
    return '';
  } catch (error) {
    return error instanceof DaxdError ? `${error.code} ${error.message}` : String(error);
  }
}

t.test('ndPfnValidate: takes what ndPfnCreate makes', async (t) => {
  t.strictSame(ndPfnValidate(encodeInfoBlock(good), options), good);
});

t.test('ndPfnValidate: an align of 0 becomes the largest power of two in dataoff', async (t) => {
  const sb = ndPfnValidate(
    encodeInfoBlock({ ...good, versionMinor: 1, dataoff: 4 * MIB }),
    options,
  );
  t.equal(sb.align, 4 * MIB);
  const odd = ndPfnValidate(encodeInfoBlock({ ...good, align: 0, dataoff: 8 * MIB }), options);
  t.equal(odd.align, 8 * MIB);
});

/** One row of the table each: what is changed, the errno, and what the message must name. */
const rows: readonly [string, Partial<PfnSuperblock>, string][] = [
  ['another signature', { signature: InfoBlockSignature.Dax }, 'ENODEV no NVDIMM_PFN_INFO'],
  ['parent uuid', { parentUuid: uuid }, `ENODEV info block: parent uuid ${uuid}`],
  ['mode 0', { mode: 0 }, 'ENXIO info block: mode 0'],
  ['mode 3', { mode: 3 }, 'ENXIO info block: mode 3'],
  ['page size', { pageSize: 65536 }, 'EOPNOTSUPP info block: page size 65536'],
  ['page struct', { pageStructSize: 56 }, 'EOPNOTSUPP info block: page struct size 56'],
  ['align beyond the namespace', { align: GIB }, `EOPNOTSUPP info block: align ${GIB}`],
  ['align of 6 MiB', { align: 6 * MIB }, 'EOPNOTSUPP info block: align 6291456 is not a power'],
  [
    'align of three pages',
    { align: 12288, dataoff: 12 * MIB },
    'EOPNOTSUPP info block: align 12288 is not a power of two',
  ],
  ['dataoff at the end', { dataoff: namespaceBytes }, 'EOPNOTSUPP info block: dataoff 268435456'],
  ['dataoff off align', { dataoff: MIB }, 'EOPNOTSUPP info block: dataoff 1048576'],
  [
    'dataoff off a page',
    { dataoff: 2 * MIB + 512, align: 512 },
    'EOPNOTSUPP info block: dataoff 2097664',
  ],
  ['start off 2 MiB', { startPad: MIB, align: 4096 }, 'EOPNOTSUPP info block: start_pad 1048576'],
  ['end off 2 MiB', { endTrunc: 4096 }, 'EOPNOTSUPP info block: start_pad 0 and end_trunc 4096'],
  [
    'no room between the pads',
    { startPad: 128 * MIB, dataoff: 128 * MIB },
    'EOPNOTSUPP info block: dataoff 134217728 leaves no data',
  ],
];

for (const [name, change, expected] of rows) {
  t.test(`ndPfnValidate: refuses ${name}`, async (t) => {
    t.match(messageOf({ ...good, ...change }), expected);
  });
}

t.test('ndPfnValidate: page size and page struct count with map=dev only', async (t) => {
  const mem = ndPfnCreate({ map: 'mem', align: 2 * MIB, uuid, namespaceBytes });
  t.equal(messageOf({ ...mem, pageSize: 65536, pageStructSize: 1 }), '');
});

t.test('ndPfnValidate: a devdax block needs an align that the machine has', async (t) => {
  const devdax = { ...good, signature: InfoBlockSignature.Dax };
  const given = { ...options, signature: InfoBlockSignature.Dax };
  t.equal(messageOf(devdax, given), '');
  t.match(messageOf({ ...devdax, align: MIB }, given), 'EOPNOTSUPP info block: align 1048576');
});

/** The bit to flip in each field, and what a recomputed checksum then leads to. */
const flips: readonly [string, number, number, ErrorCode | undefined][] = [
  ['signature', 0, 1, 'ENODEV'],
  ['uuid', 16, 1, undefined],
  ['parent_uuid', 32, 1, 'ENODEV'],
  ['flags', 48, 1, undefined],
  ['version_major', 52, 1, undefined],
  ['version_minor (to 5)', 54, 1, undefined],
  // Without its align the block asks for 4 MiB, the largest power of two in 6 MiB.
  ['version_minor (to 0)', 54, 4, 'EOPNOTSUPP'],
  ['dataoff (512)', 57, 2, 'EOPNOTSUPP'],
  ['dataoff (high)', 63, 128, 'EOPNOTSUPP'],
  ['npfns', 64, 1, undefined],
  ['npfns (high)', 71, 128, undefined],
  ['mode (to 3)', 72, 1, 'ENXIO'],
  ['mode (high)', 75, 128, 'ENXIO'],
  ['start_pad', 77, 16, 'EOPNOTSUPP'],
  ['end_trunc', 81, 16, 'EOPNOTSUPP'],
  ['align (to 2M + 1G)', 87, 64, 'EOPNOTSUPP'],
  ['page_size (to 12288)', 89, 32, 'EOPNOTSUPP'],
  ['page_struct_size (to 0)', 92, 64, 'EOPNOTSUPP'],
  ['padding', 2000, 1, undefined],
];

for (const [field, byte, bit, code] of flips) {
  t.test(`ndPfnValidate: one bit flipped in ${field}`, async (t) => {
    const block = encodeInfoBlock(good);
    block.writeUInt8(block.readUInt8(byte) ^ bit, byte);
    t.equal(codeOf(block), 'ENODEV', 'the checksum left');
    sealInfoBlock(block);
    t.equal(codeOf(block), code, 'the checksum recomputed');
  });
}

t.test('ndPfnValidate: one bit flipped in the checksum', async (t) => {
  const block = encodeInfoBlock(good);
  block.writeUInt8(block.readUInt8(4095) ^ 1, 4095);
  t.equal(codeOf(block), 'ENODEV');
});
