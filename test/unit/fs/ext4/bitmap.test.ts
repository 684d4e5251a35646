import t from 'tap';

import {
  clearBits,
  countClear,
  findBit,
  freeRuns,
  setBits,
  testBit,
} from '../../../../src/fs/ext4/bitmap.js';

const BITS = 40;

/** Every range of a bitmap of 40 bits, over three fillings. */
function* ranges(): Generator<{ first: number; length: number; fill: number }> {
  for (const fill of [0, 0xff, 0x5a]) {
    for (let first = 0; first <= BITS; first++) {
      for (let length = 0; first + length <= BITS; length++) yield { first, length, fill };
    }
  }
}

function bitsOf(bits: Uint8Array): string {
  return Array.from({ length: BITS }, (_, i) => (testBit(bits, i) ? '1' : '0')).join('');
}

t.test('setBits, clearBits: every range, against text', async (t) => {
  let wrong = 0;
  for (const { first, length, fill } of ranges()) {
    const before = new Uint8Array(BITS / 8).fill(fill);
    const text = bitsOf(before);
    const inside = text.slice(first, first + length);
    const ones = inside.replaceAll('0', '').length;

    const set = Uint8Array.from(before);
    if (setBits(set, first, length) !== length - ones) wrong++;
    if (bitsOf(set) !== text.slice(0, first) + '1'.repeat(length) + text.slice(first + length)) {
      wrong++;
    }
    const cleared = Uint8Array.from(before);
    if (clearBits(cleared, first, length) !== ones) wrong++;
    if (
      bitsOf(cleared) !==
      text.slice(0, first) + '0'.repeat(length) + text.slice(first + length)
    ) {
      wrong++;
    }
  }
  t.equal(wrong, 0);
});

t.test('findBit: every start and end, against text', async (t) => {
  let wrong = 0;
  for (const { first, length, fill } of ranges()) {
    const bits = new Uint8Array(BITS / 8).fill(fill);
    for (const value of [0, 1] as const) {
      const end = first + length;
      const at = bitsOf(bits).slice(0, end).indexOf(String(value), first);
      if (findBit(bits, value, first, end) !== (at < 0 ? end : at)) wrong++;
    }
  }
  t.equal(wrong, 0);
  t.equal(findBit(new Uint8Array(5), 0, 50, 40), 40, 'a start behind the end finds nothing');
});

t.test('freeRuns: the clear stretches in order', async (t) => {
  const bits = new Uint8Array(BITS / 8);
  t.strictSame([...freeRuns(bits, 3, 39)], [{ first: 3, length: 36 }]);
  setBits(bits, 5, 2);
  setBits(bits, 20, 19);
  t.strictSame(
    [...freeRuns(bits, 0, 40)],
    [
      { first: 0, length: 5 },
      { first: 7, length: 13 },
      { first: 39, length: 1 },
    ],
  );
  t.strictSame([...freeRuns(bits, 20, 30)], []);
});

t.test('countClear: of the first bits alone, whatever lies behind them', async (t) => {
  const bits = Uint8Array.of(0b1111_0000, 0xff, 0b0000_0001, 0);
  t.equal(countClear(bits, 32), 4 + 7 + 8);
  t.equal(countClear(bits, 18), 4 + 1);
  t.equal(countClear(bits, 0), 0);
});
