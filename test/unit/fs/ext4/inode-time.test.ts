import t from 'tap';

import { decodeTime, encodeTime } from '../../../../src/fs/ext4/inode-time.js';

const SECOND = 1_000_000_000n;

t.test('decodeTime: the table of the kernel documentation', async (t) => {
  // Extra bits, sign of the 32-bit field, and the seconds that they stand for.
  const rows: readonly (readonly [number, number, bigint])[] = [
    [0, -1, -1n],
    [0, -0x80000000, -0x80000000n],
    [0, 0, 0n],
    [0, 0x7fffffff, 0x7fffffffn],
    [1, -1, 0xffffffffn],
    [1, -0x80000000, 0x80000000n],
    [1, 0, 0x100000000n],
    [2, 0x7fffffff, 0x27fffffffn],
    [3, 0x7fffffff, 0x37fffffffn],
  ];
  for (const [extra, seconds, wanted] of rows) {
    t.equal(decodeTime(seconds, extra), wanted * SECOND);
    t.strictSame(encodeTime(wanted * SECOND), { seconds, extra });
  }
});

t.test('encodeTime: nanoseconds, also before 1970', async (t) => {
  for (const timeNs of [1n, 999_999_999n, -1n, -SECOND - 1n, 1_700_000_000_123_456_789n]) {
    const { seconds, extra } = encodeTime(timeNs);
    t.equal(decodeTime(seconds, extra), timeNs);
  }
});

t.test('encodeTime: years that the format has not are put at its ends', async (t) => {
  t.strictSame(encodeTime(-(2n ** 40n) * SECOND), { seconds: -0x80000000, extra: 0 });
  t.strictSame(encodeTime(2n ** 40n * SECOND), { seconds: 0x7fffffff, extra: 3 });
});
