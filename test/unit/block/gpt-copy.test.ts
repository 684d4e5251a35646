import t from 'tap';

import {
  blankGptCopies,
  type GptCopy,
  readGptCopy,
  writeGptCopy,
} from '../../../src/block/gpt-copy.js';
import { encodeEntry, LINUX_FILESYSTEM_TYPE } from '../../../src/block/gpt-entry.js';
import { MIB } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { MemoryBacking } from '../../support/memory-backing.js';
import { reseal } from './reseal.js';

const uuid = '01234567-89ab-cdef-0123-456789abcdef';
const sectors = (4 * MIB) / 512;

async function setUp(): Promise<{ disk: BackingRange; primary: GptCopy; backup: GptCopy }> {
  const disk = new BackingRange(new MemoryBacking(4 * MIB), 0, 4 * MIB);
  const [primary, backup] = blankGptCopies(uuid, sectors);
  encodeEntry(primary.entries, {
    number: 2,
    type: LINUX_FILESYSTEM_TYPE,
    uuid,
    label: 'data',
    firstLba: 4096,
    lastLba: 5000,
  });
  await writeGptCopy(disk, primary);
  await writeGptCopy(disk, backup);
  return { disk, primary, backup };
}

t.test('readGptCopy: gives back what writeGptCopy stored, both copies', async (t) => {
  const { disk, primary, backup } = await setUp();
  t.strictSame(readGptCopy(disk, 1), primary);
  t.strictSame(readGptCopy(disk, sectors - 1), backup);
  t.match(primary, { tableLba: 2, firstUsableLba: 34, lastUsableLba: sectors - 34 });
  t.match(backup, { tableLba: sectors - 33, otherHeaderLba: 1 });
});

t.test('readGptCopy: any damage is told, and what it is', async (t) => {
  for (const [name, change, damage] of [
    [
      'no signature',
      (disk: BackingRange) => {
        disk.fill(512, 1, 0);
      },
      /no signature/,
    ],
    [
      'header',
      (disk: BackingRange) => {
        disk.fill(512 + 60, 1, 0);
      },
      /checksum of the header/,
    ],
    [
      'reserved entry',
      (disk: BackingRange) => {
        disk.fill(1024 + 16383, 1, 1);
      },
      /checksum of the entries/,
    ],
    [
      'header size',
      (disk: BackingRange) => {
        reseal(disk, 1, (h) => h.writeUInt32LE(4096, 12));
      },
      /header size 4096/,
    ],
    [
      'another place',
      (disk: BackingRange) => {
        reseal(disk, 1, (h) => h.writeUInt32LE(7, 24));
      },
      /says that it is at LBA 7/,
    ],
    [
      'entry size',
      (disk: BackingRange) => {
        reseal(disk, 1, (h) => h.writeUInt32LE(256, 84));
      },
      /entries of 256 bytes/,
    ],
    [
      'too many entries',
      (disk: BackingRange) => {
        reseal(disk, 1, (h) => h.writeUInt32LE(2 ** 31, 80));
      },
      /2147483648 entries/,
    ],
    [
      'no entries',
      (disk: BackingRange) => {
        reseal(disk, 1, (h) => h.writeUInt32LE(0, 80));
      },
      /0 entries/,
    ],
    [
      'beyond the disk',
      (disk: BackingRange) => {
        reseal(disk, 1, (h) => h.writeUInt32LE(sectors, 48));
      },
      /usable sectors/,
    ],
    [
      'usable reversed',
      (disk: BackingRange) => {
        reseal(disk, 1, (h) => h.writeUInt32LE(9000, 40));
      },
      /usable sectors/,
    ],
    [
      'table outside',
      (disk: BackingRange) => {
        reseal(disk, 1, (h) => h.writeUInt32LE(sectors - 1, 72));
      },
      /outside the disk/,
    ],
    [
      'table on the header',
      (disk: BackingRange) => {
        reseal(disk, 1, (h) => h.writeUInt32LE(1, 72));
      },
      /outside the disk/,
    ],
  ] as const) {
    const { disk } = await setUp();
    change(disk);
    t.match(readGptCopy(disk, 1), { damage }, name);
  }
});

t.test('readGptCopy: a header outside the disk is damage too', async (t) => {
  const { disk } = await setUp();
  t.match(readGptCopy(disk, sectors), { damage: /outside the disk/ });
  t.match(readGptCopy(disk, 2 ** 53), { damage: /outside the disk/ });
  t.match(readGptCopy(disk, 0), { damage: /outside the disk/ });
});
