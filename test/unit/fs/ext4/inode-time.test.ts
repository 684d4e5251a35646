import t from 'tap';

import {
  decodeTime,
  encodeTime,
  encodeWallTime,
  laterInTick,
  wallSeconds,
} from '../../../../src/fs/ext4/inode-time.js';
import type { EncodedTime } from '../../../../src/fs/ext4/inode-time.js';

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

/** The first second of years, the first and the last of them not the format's. */
const YEARS = {
  1800: -5_364_662_400,
  1902: -2_145_916_800,
  1965: -157_766_400,
  2026: 1_767_225_600,
  2107: 4_323_283_200,
  2500: 16_725_225_600,
} as const;

t.test('encodeWallTime: as encodeTime, also past the years of the format', async (t) => {
  for (const [year, seconds] of Object.entries(YEARS)) {
    const wallMs = seconds * 1000 + 123.456;
    for (const width of ['narrow', 'wide'] as const) {
      const wanted = encodeTime(BigInt(Math.round(wallMs * 1000)) * 1000n, width);
      t.strictSame(encodeWallTime(wallMs, width), wanted, `${year}, ${width}`);
    }
  }
});

t.test('wallSeconds: a clock that the field has no room for is put at its ends', async (t) => {
  t.equal(wallSeconds(YEARS[1965] * 1000), 1);
  t.equal(wallSeconds(YEARS[2026] * 1000 + 999), YEARS[2026]);
  t.equal(wallSeconds(YEARS[2107] * 1000), 0xffffffff);
});

function at(ms: number): EncodedTime {
  return encodeWallTime(ms);
}

function ns({ seconds, extra }: EncodedTime): bigint {
  return decodeTime(seconds, extra);
}

t.test('laterInTick: behind the time before in the same millisecond, else as it is', async (t) => {
  const later = (now: number, { seconds, extra }: EncodedTime) =>
    laterInTick(at(now), seconds, extra);
  t.equal(ns(later(1234, at(1234))), 1_234_001_000n);
  t.equal(ns(later(1234, later(1234, at(1234)))), 1_234_002_000n);
  for (const before of [1233, 1235, 234, 2234, 0, 2 ** 42]) {
    t.strictSame(later(1234, at(before)), at(1234), String(before));
  }
  let time = at(999);
  for (let i = 0; i < 2000; i++) time = later(999, time);
  t.ok(ns(time) < 1_000_000_000n, 'never into the next tick');
});
