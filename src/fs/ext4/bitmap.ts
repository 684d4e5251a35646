/** Operations on the bitmaps of ext4: bit n is bit n % 8 of byte n / 8. */

/** Ones of each byte. */
const POPCOUNTS = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0;
  for (let rest = byte; rest !== 0; rest &= rest - 1) count++;
  return count;
});

/** A free stretch of a bitmap. */
export interface BitRun {
  readonly first: number;
  readonly length: number;
}

/** Whether a bit is set; one past the end is not. */
export function testBit(bits: Uint8Array, index: number): boolean {
  return ((byteAt(bits, index >>> 3) >>> (index & 7)) & 1) === 1;
}

/** Sets `length` bits from `first` on; answers how many of them were clear before. */
export function setBits(bits: Uint8Array, first: number, length: number): number {
  let changed = 0;
  for (let bit = first; bit < first + length;) {
    const mask = maskAt(bit, first + length);
    const old = byteAt(bits, bit >>> 3);
    changed += popcount(mask & ~old);
    bits[bit >>> 3] = old | mask;
    bit = (bit | 7) + 1;
  }
  return changed;
}

/** Clears `length` bits from `first` on; answers how many of them were set before. */
export function clearBits(bits: Uint8Array, first: number, length: number): number {
  let changed = 0;
  for (let bit = first; bit < first + length;) {
    const mask = maskAt(bit, first + length);
    const old = byteAt(bits, bit >>> 3);
    changed += popcount(mask & old);
    bits[bit >>> 3] = old & ~mask;
    bit = (bit | 7) + 1;
  }
  return changed;
}

/** How many of the first `length` bits are clear. */
export function countClear(bits: Uint8Array, length: number): number {
  let clear = 0;
  for (let bit = 0; bit < length; bit += 8) {
    clear += popcount(~byteAt(bits, bit >>> 3) & maskAt(bit, length));
  }
  return clear;
}

/**
 * The first bit from `from` on that has the value `value`, or `end` when there is none.
 *
 * @hot Some times a block allocation.
 */
export function findBit(bits: Uint8Array, value: 0 | 1, from: number, end: number): number {
  const skip = value === 0 ? 0xff : 0;
  for (let bit = from; bit < end;) {
    const byte = byteAt(bits, bit >>> 3);
    if (byte === skip) {
      bit = (bit | 7) + 1;
      continue;
    }
    // Only the bits from `bit` on, turned so that a one is what is looked for.
    const wanted = (value === 1 ? byte : ~byte) & maskAt(bit, end);
    if (wanted !== 0) return (bit & ~7) + (31 - Math.clz32(wanted & -wanted));
    bit = (bit | 7) + 1;
  }
  return end;
}

/**
 * The runs of clear bits in [from, end), in their order. Of one that is longer than `longest`
 * only as much is looked at, and the rest comes as another run.
 */
export function* freeRuns(
  bits: Uint8Array,
  from: number,
  end: number,
  longest = Infinity,
): Generator<BitRun> {
  for (let first = findBit(bits, 0, from, end); first < end;) {
    const next = findBit(bits, 1, first, Math.min(end, first + longest));
    yield { first, length: next - first };
    first = findBit(bits, 0, next, end);
  }
}

/** The bits of `bit`'s byte that lie in [bit, end). */
function maskAt(bit: number, end: number): number {
  const low = bit & 7;
  const high = Math.min(8, low + end - bit);
  return (0xff << low) & (0xff >>> (8 - high)) & 0xff;
}

function popcount(byte: number): number {
  return POPCOUNTS[byte] ?? 0;
}

function byteAt(bits: Uint8Array, index: number): number {
  return bits[index] ?? 0;
}
