import t from 'tap';

import { MIB } from '../../../src/lib/units.js';
import { isBlank } from '../../../src/nvdimm/is-blank.js';
import { MemoryBacking } from '../../support/memory-backing.js';
import { fsdaxBacking } from './probe-set-up.js';

const sizeBytes = 40 * MIB;

function withBytes(offset: number, bytes: string | Buffer): MemoryBacking {
  const backing = new MemoryBacking(sizeBytes);
  backing.mapping.write(offset, Buffer.from(bytes as string, 'latin1'));
  return backing;
}

t.test('isBlank: zeros at both ends are blank, whatever lies between', async (t) => {
  t.strictSame(isBlank(new MemoryBacking(sizeBytes)), { blank: true });
  t.strictSame(isBlank(withBytes(16 * MIB, 'x')), { blank: true });
  t.strictSame(isBlank(withBytes(24 * MIB - 1, 'x')), { blank: true });
});

t.test('isBlank: one byte at either end is not', async (t) => {
  for (const where of [0, 5000, 16 * MIB - 1, 24 * MIB, sizeBytes - 1]) {
    t.strictSame(isBlank(withBytes(where, 'x')), { blank: false, what: 'data', where });
  }
});

t.test('isBlank: a backing smaller than both ends is looked at whole', async (t) => {
  const backing = new MemoryBacking(8192);
  t.strictSame(isBlank(backing), { blank: true });
  backing.mapping.fill(8191, 1, 1);
  t.strictSame(isBlank(backing), { blank: false, what: 'data', where: 8191 });
  t.strictSame(isBlank(new MemoryBacking(4096)), { blank: true });
});

t.test('isBlank: names what it knows', async (t) => {
  t.strictSame(isBlank(fsdaxBacking()), {
    blank: false,
    what: 'an fsdax info block',
    where: 4096,
  });
  for (const [offset, bytes, what, where] of [
    [4096, 'NVDIMM_DAX_INFO\0', 'a devdax info block', 4096],
    [4096, 'BTT_ARENA_INFO\0\0', 'a BTT', 4096],
    [0, 'BTT_ARENA_INFO\0\0', 'a BTT', 0],
    [1080, '\x53\xef', 'an ext2, ext3 or ext4 filesystem', 1080],
    [0, 'XFSB', 'an XFS filesystem', 0],
    [65600, '_BHRfS_M', 'a btrfs filesystem', 65600],
    [4086, 'SWAPSPACE2', 'swap space', 4086],
    [512, 'EFI PART', 'a GPT', 512],
    [510, '\x55\xaa', 'an MBR', 510],
    [sizeBytes - 512, 'EFI PART', 'a backup GPT', sizeBytes - 512],
  ] as const) {
    t.strictSame(isBlank(withBytes(offset, bytes)), { blank: false, what, where }, what);
  }
});
