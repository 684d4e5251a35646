import t from 'tap';

import { XattrEntryField } from '../../../../src/fs/ext4/layout.js';
import {
  decodeXattrs,
  encodeXattrs,
  xattrBlockHash,
  xattrHash,
  xattrsFit,
} from '../../../../src/fs/ext4/xattr-area.js';
import type { Xattr } from '../../../../src/fs/ext4/xattr-area.js';
import { DaxdError } from '../../../../src/lib/errno.js';
import { testSeed, times } from '../../../support/random-test.js';
import { SeededRandom } from '../../../support/seeded-random.js';

const IN_INODE = { first: 4, origin: 4 };
const IN_BLOCK = { first: 32, origin: 0 };

function xattr(index: number, name: string, value: string): Xattr {
  return { index, name: Buffer.from(name), value: Buffer.from(value) };
}

const SOME = [xattr(1, 'a', 'value'), xattr(4, 'empty', ''), xattr(6, 'long name', 'x'.repeat(17))];

t.test('encodeXattrs: what it writes is read back, in an inode and in a block', async (t) => {
  for (const [place, size] of [
    [IN_INODE, 128],
    [IN_BLOCK, 4096],
  ] as const) {
    for (const isHashed of [true, false]) {
      const area = Buffer.alloc(size, 0xa5);
      encodeXattrs(area, place, SOME, { isHashed });
      t.strictSame(decodeXattrs(area, place, 'x'), SOME);
      t.strictSame(area.subarray(0, place.first), Buffer.alloc(place.first, 0xa5), 'header kept');
    }
    const area = Buffer.alloc(size, 0xa5);
    encodeXattrs(area, place, [], { isHashed: true });
    t.strictSame(decodeXattrs(area, place, 'x'), []);
  }
});

t.test('xattrsFit: up to the last byte', async (t) => {
  const size = 4 + 20 + 16 + 4;
  const one = [xattr(1, 'abcd', 'v'.repeat(16))];
  t.equal(xattrsFit(size, IN_INODE, one), true);
  t.equal(xattrsFit(size - 1, IN_INODE, one), false);
  const area = Buffer.alloc(size);
  encodeXattrs(area, IN_INODE, one, { isHashed: false });
  t.strictSame(decodeXattrs(area, IN_INODE, 'x'), one);
  t.equal(xattrsFit(0, IN_INODE, []), false);
});

t.test('decodeXattrs: damage of each kind is EUCLEAN and names its place', async (t) => {
  const damages: Record<string, (area: Buffer) => void> = {
    'a name with a NUL': (area) => area.writeUInt8(0, 32 + XattrEntryField.Name),
    'a longer name': (area) => area.writeUInt8(255, 32),
    'a value inode': (area) => area.writeUInt32LE(12, 32 + XattrEntryField.ValueInode),
    'a huge value': (area) => area.writeUInt32LE(0xffffffff, 32 + XattrEntryField.ValueSize),
    'a value past the end': (area) => area.writeUInt16LE(4094, 32 + XattrEntryField.ValueOffset),
    'a value over the entries': (area) => area.writeUInt16LE(36, 32 + XattrEntryField.ValueOffset),
    'a value over another': (area) =>
      area.writeUInt16LE(4096 - 28, 32 + XattrEntryField.ValueOffset),
    'another hash': (area) => area.writeUInt32LE(7, 32 + XattrEntryField.Hash),
    'another value': (area) => area.writeUInt8(7, 4095 - 3),
    'no end': (area) => area.fill(0xff, 100),
  };
  for (const [title, damage] of Object.entries(damages)) {
    const area = Buffer.alloc(4096);
    encodeXattrs(area, IN_BLOCK, SOME, { isHashed: true });
    damage(area);
    t.throws(
      () => decodeXattrs(area, IN_BLOCK, 'inode 12'),
      { code: 'EUCLEAN', message: /^attributes of inode 12: / },
      title,
    );
  }
  const small = { code: 'EUCLEAN' };
  t.throws(() => decodeXattrs(Buffer.alloc(6), IN_INODE, 'x'), small, 'no room for an end');
});

t.test('decodeXattrs: any bytes give attributes of this area, or EUCLEAN', async (t) => {
  const seed = testSeed(t);
  const random = new SeededRandom(seed);
  let refused = 0;
  for (let i = 0; i < times(2000); i++) {
    const place = i % 2 === 0 ? IN_INODE : IN_BLOCK;
    const area = Buffer.alloc(i % 2 === 0 ? 96 : 4096);
    encodeXattrs(area, place, SOME, { isHashed: i % 4 < 2 });
    for (let flips = random.below(4); flips >= 0; flips--) {
      area[place.first + random.below(80)] = random.below(256);
    }
    try {
      const found = decodeXattrs(area, place, 'x');
      const bytes = found.reduce((sum, { name, value }) => sum + name.length + value.length, 0);
      if (bytes > area.length) t.fail(`seed ${seed}, ${i}: ${bytes} bytes`);
    } catch (error) {
      if (!(error instanceof DaxdError) || error.code !== 'EUCLEAN') throw error;
      refused++;
    }
  }
  t.ok(refused > 0, `${refused} refused`);
});

t.test('xattrHash: signed names differ above 127 only, and both are taken', async (t) => {
  const value = Buffer.from('abcdefgh');
  t.equal(xattrHash(Buffer.from('name'), value), xattrHash(Buffer.from('name'), value, 'signed'));
  const name = Buffer.from('ü');
  const signed = xattrHash(name, value, 'signed');
  t.not(xattrHash(name, value), signed);
  const area = Buffer.alloc(4096);
  encodeXattrs(area, IN_BLOCK, [{ index: 1, name, value }], { isHashed: true });
  area.writeUInt32LE(signed, 32 + XattrEntryField.Hash);
  t.equal(decodeXattrs(area, IN_BLOCK, 'x').length, 1);
  t.equal(xattrBlockHash([1, 0, 2]), 0, 'an entry without a hash: none for the block');
  t.equal(xattrBlockHash([1, 2]), 0x10002);
});
