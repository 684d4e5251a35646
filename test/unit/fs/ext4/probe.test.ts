import t from 'tap';

import { mkfsExt4 } from '../../../../src/fs/ext4/mkfs.js';
import { probeSuperblock } from '../../../../src/fs/ext4/probe.js';
import { MIB } from '../../../../src/lib/units.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { MemoryBacking } from '../../../support/memory-backing.js';

const clock = { nowMs: () => 0, wallMs: () => 1_700_000_000_000, setTimer: () => () => {} };

function makeRange(sizeBytes: number): BackingRange {
  return new BackingRange(new MemoryBacking(sizeBytes), 0, sizeBytes);
}

t.test('probeSuperblock: names an ext4 with label, uuid and sizes', async (t) => {
  const range = makeRange(8 * MIB);
  const uuid = '11111111-2222-3333-4444-555555555555';
  await mkfsExt4(range, { label: 'dätä', uuid, clock });
  t.match(probeSuperblock(range), { type: 'ext4', label: 'dätä', uuid, totalBytes: 8 * MIB });
});

t.test('probeSuperblock: zeros and noise are nothing', async (t) => {
  const range = makeRange(MIB);
  t.equal(probeSuperblock(range), undefined);
  range.fill(0, MIB, 0xa5);
  t.equal(probeSuperblock(range), undefined);
});

t.test('probeSuperblock: names other formats', async (t) => {
  const table: readonly (readonly [string, number, string])[] = [
    ['xfs', 0, 'XFSB'],
    ['btrfs', 65600, '_BHRfS_M'],
    ['swap', 4086, 'SWAPSPACE2'],
    ['vfat', 82, 'FAT32   '],
    ['ntfs', 3, 'NTFS    '],
    ['crypto_LUKS', 0, 'LUKS\xba\xbe'],
    ['gpt', 512, 'EFI PART'],
  ];
  for (const [type, offset, text] of table) {
    const range = makeRange(MIB);
    range.write(offset, Buffer.from(text, 'latin1'));
    t.match(probeSuperblock(range), { type, label: '', totalBytes: undefined }, type);
  }
});

t.test('probeSuperblock: boot code and the end of an earlier disk are nothing', async (t) => {
  const range = makeRange(MIB);
  range.write(510, Buffer.from('\x55\xaa', 'latin1'));
  range.write(MIB - 512, Buffer.from('EFI PART'));
  t.equal(probeSuperblock(range), undefined);
});

t.test('probeSuperblock: a range too short for any of it is nothing', async (t) => {
  t.equal(probeSuperblock(new BackingRange(new MemoryBacking(4096), 0, 512)), undefined);
});
