import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { fletcher64 } from '../../../src/nvdimm/fletcher64.js';

t.test('fletcher64: sums words modulo 2 ** 32 and their prefix sums above them', async (t) => {
  const words = Buffer.alloc(12);
  words.writeUInt32LE(1, 0);
  words.writeUInt32LE(2, 4);
  words.writeUInt32LE(3, 8);
  t.equal(fletcher64(words), (10n << 32n) | 6n);
});

t.test('fletcher64: wraps at 2 ** 32, not at 2 ** 32 - 1', async (t) => {
  const ones = Buffer.alloc(4, 0xff);
  t.equal(fletcher64(ones), (0xffffffffn << 32n) | 0xffffffffn, 'all ones stay all ones');
  const wrapped = Buffer.alloc(8, 0xff);
  t.equal(fletcher64(wrapped), (0xfffffffdn << 32n) | 0xfffffffen);
});

t.test('fletcher64: half a word breaks an assertion', async (t) => {
  t.throws(() => fletcher64(Buffer.alloc(6)), InvariantError);
});
