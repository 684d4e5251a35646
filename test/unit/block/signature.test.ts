import t from 'tap';

import { firstNonZero, recogniseSignature } from '../../../src/block/signature.js';
import { MIB } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { MemoryBacking } from '../../../src/media/memory-backing.js';

function rangeWith(offset: number, bytes: string, length = 2 * MIB): BackingRange {
  const range = new BackingRange(new MemoryBacking(4 * MIB), 4096, length);
  range.write(offset, Buffer.from(bytes, 'latin1'));
  return range;
}

t.test('recogniseSignature: offsets count from the start of the range', async (t) => {
  t.match(recogniseSignature(rangeWith(1080, '\x53\xef')), { where: 1080, filesystem: true });
  t.match(recogniseSignature(rangeWith(0, 'LUKS\xba\xbe')), { what: 'a LUKS volume' });
  t.match(recogniseSignature(rangeWith(512, 'LABELONE')), { what: 'an LVM2 volume' });
  t.match(recogniseSignature(rangeWith(512, 'EFI PART')), { what: 'a GPT', filesystem: false });
});

t.test('recogniseSignature: undefined for zeros, for data, and where nothing fits', async (t) => {
  t.equal(recogniseSignature(rangeWith(0, '')), undefined);
  t.equal(recogniseSignature(rangeWith(1000, 'data')), undefined);
  t.equal(recogniseSignature(rangeWith(0, '', 256)), undefined);
});

t.test('firstNonZero: finds the byte, within the stretch only', async (t) => {
  const range = rangeWith(100_000, 'x');
  t.equal(firstNonZero(range, 0, 2 * MIB), 100_000);
  t.equal(firstNonZero(range, 100_000, 1), 100_000);
  t.equal(firstNonZero(range, 0, 100_000), undefined);
  t.equal(firstNonZero(range, 100_001, 1000), undefined);
  t.equal(firstNonZero(range, 0, 0), undefined);
});
