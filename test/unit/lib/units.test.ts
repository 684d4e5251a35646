import t from 'tap';

import { DaxdError } from '../../../src/lib/errno.js';
import {
  GIB,
  isAligned,
  isPowerOf,
  parseSize,
  roundDown,
  roundUp,
  TIB,
} from '../../../src/lib/units.js';

t.test('parseSize: bytes and powers of 1024', async (t) => {
  t.equal(parseSize('4096'), 4096);
  t.equal(parseSize('4K'), 4096);
  t.equal(parseSize('256M'), 268435456);
  t.equal(parseSize('1G'), GIB);
  t.equal(parseSize('16T'), 16 * TIB);
});

t.test('parseSize: what is no size is EINVAL and named', async (t) => {
  for (const text of ['', 'M', '-1', '1.5G', '1g', '1 G', '0x10']) {
    t.throws(() => parseSize(text), { code: 'EINVAL', message: `"${text}" is not a size` });
    t.throws(() => parseSize(text), DaxdError);
  }
  for (const text of ['9007199254740992', '8192T', '9000000T']) {
    const message = `"${text}" is 2^53 bytes or more: give less`;
    t.throws(() => parseSize(text), { code: 'EINVAL', message });
  }
});

t.test('roundUp, roundDown: exact past 2 ** 32', async (t) => {
  t.equal(roundUp(5 * GIB + 1, 4096), 5 * GIB + 4096);
  t.equal(roundUp(5 * GIB, 4096), 5 * GIB);
  t.equal(roundDown(5 * GIB + 4095, 4096), 5 * GIB);
  t.ok(isAligned(8 * GIB, GIB));
  t.notOk(isAligned(8 * GIB + 512, 4096));
});

t.test('isPowerOf: 1 is a power of anything', async (t) => {
  const values = Array.from({ length: 100 }, (_, i) => i + 1);
  t.strictSame(
    values.filter((value) => isPowerOf(value, 2)),
    [1, 2, 4, 8, 16, 32, 64],
  );
  t.strictSame(
    values.filter((value) => isPowerOf(value, 7)),
    [1, 7, 49],
  );
});
