import t from 'tap';

import { firstNonZero, recogniseSignature } from '../../../src/block/signature.js';
import { MIB } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { MemoryBacking } from '../../support/memory-backing.js';

function rangeWith(offset: number, bytes: string, length = 2 * MIB): BackingRange {
  const range = new BackingRange(new MemoryBacking(4 * MIB), 4096, length);
  range.write(offset, Buffer.from(bytes, 'latin1'));
  return range;
}

t.test('recogniseSignature: offsets count from the start of the range', async (t) => {
  for (const [offset, bytes, type, kind] of [
    [1080, '\x53\xef', 'ext4', 'filesystem'],
    [0, 'LUKS\xba\xbe', 'crypto_LUKS', 'filesystem'],
    [512, 'LABELONE', 'LVM2_member', 'filesystem'],
    [4096, '\xfc\x4e\x2b\xa9', 'linux_raid_member', 'filesystem'],
    [65526, 'SWAPSPACE2', 'swap', 'filesystem'],
    [1024, '\x10\x20\xf5\xf2', 'f2fs', 'filesystem'],
    [4096, 'BTT_ARENA_INFO', 'BTT', 'namespace'],
    [512, 'EFI PART', 'gpt', 'table'],
    [510, '\x55\xaa', 'dos', 'table'],
    [2 * MIB - 512, 'EFI PART', 'backup-gpt', 'table'],
  ] as const) {
    t.match(recogniseSignature(rangeWith(offset, bytes)), { type, kind, offset }, type);
  }
});

t.test('recogniseSignature: the owner of a boot sector, and not its mark', async (t) => {
  const range = rangeWith(510, '\x55\xaa');
  range.write(82, Buffer.from('FAT32   '));
  t.match(recogniseSignature(range), { type: 'vfat', what: 'a FAT filesystem' });
  range.write(512, Buffer.from('EFI PART'));
  t.match(recogniseSignature(range), { type: 'gpt' }, 'a GPT was laid over it later');
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
