import { createHash } from 'node:crypto';

import t from 'tap';

import { DaxdError } from '../../../src/lib/errno.js';
import { GIB, KIB, MIB, TIB } from '../../../src/lib/units.js';
import { encodeInfoBlock, InfoBlockSignature } from '../../../src/nvdimm/info-block.js';
import { ndPfnCreate } from '../../../src/nvdimm/nd-pfn-create.js';

const uuid = '11111111-2222-3333-4444-555555555555';
const align = 2 * MIB;

function sha256OfFirst8K(block: Buffer): string {
  return createHash('sha256')
    .update(Buffer.concat([Buffer.alloc(4096), block]))
    .digest('hex');
}

const { Pfn, Dax } = InfoBlockSignature;

for (const [signature, map, dataoff, npfns, sha] of [
  [Pfn, 'dev', 0x600000, 64000, 'b533ae64e310d252ab79360b936de2b97edd361c44e4c95d14c3cded368babc4'],
  [Pfn, 'mem', 0x200000, 65024, '332fdac218b617d99bc0552786802520914eb538ed694aad81a598e5c369acc8'],
  [Dax, 'dev', 0x600000, 64000, 'd01ed67fe29120918e1632f30ddbd7976965ff2e7c2fe92eeb39037aa24c2d22'],
] as const) {
  t.test(`ndPfnCreate: 256M ${signature} map=${map} is byte for byte ndctl's`, async (t) => {
    const sb = { ...ndPfnCreate({ map, align, uuid, namespaceBytes: 256 * MIB }), signature };
    t.match(sb, { dataoff, npfns, startPad: 0, endTrunc: 0 });
    t.equal(sha256OfFirst8K(encodeInfoBlock(sb)), sha);
  });
}

for (const [name, size, map, unit, expected] of [
  ['16M', 16 * MIB, 'dev', align, { dataoff: 2097152, npfns: 3584 }],
  ['1G dev', GIB, 'dev', align, { dataoff: 18874368, npfns: 257536 }],
  ['1G mem', GIB, 'mem', align, { dataoff: 2097152, npfns: 261632 }],
  ['1T dev', TIB, 'dev', align, { dataoff: 17181966336, npfns: 264240640 }],
  ['1T dev align 1G', TIB, 'dev', GIB, { dataoff: 18253611008, npfns: 263979008 }],
  ['4M', 4 * MIB, 'dev', align, { dataoff: 2097152, npfns: 512, endTrunc: 0 }],
  ['4M+1024', 4 * MIB + KIB, 'dev', align, { dataoff: 2097152, npfns: 512, endTrunc: 1024 }],
] as const) {
  t.test(`ndPfnCreate: geometry of ${name}`, async (t) => {
    const sb = ndPfnCreate({ map, align: unit, uuid, namespaceBytes: size });
    t.match(sb, { ...expected, align: unit });
  });
}

t.test('ndPfnCreate: the align field keeps a request below 2 MiB', async (t) => {
  const sb = ndPfnCreate({ map: 'dev', align: 4096, uuid, namespaceBytes: 256 * MIB });
  t.match(sb, { align: 4096, dataoff: 0x600000, npfns: 64000 }, 'only the geometry is rounded');
});

t.test('ndPfnCreate: ENXIO where no data page fits', async (t) => {
  for (const namespaceBytes of [4096, 8192, 2 * MIB, 3 * MIB]) {
    t.throws(
      () => ndPfnCreate({ map: 'dev', align, uuid, namespaceBytes }),
      { name: 'DaxdError', code: 'ENXIO' },
      `${namespaceBytes} bytes`,
    );
  }
  t.throws(() => ndPfnCreate({ map: 'dev', align: GIB, uuid, namespaceBytes: GIB }), {
    code: 'ENXIO',
  });
});

t.test('ndPfnCreate: EINVAL for an align that is no power of two from 4096 on', async (t) => {
  for (const bad of [0, 2048, 3 * MIB, -4096]) {
    t.throws(
      () => ndPfnCreate({ map: 'dev', align: bad, uuid, namespaceBytes: GIB }),
      DaxdError,
      `align ${bad}`,
    );
  }
});
