import { assert } from '../../lib/assert.js';

const BITS = 32;

/** A number whose bits say which bits of the word are set, and how the checksum then differs. */
interface Combination {
  word: number;
  difference: number;
}

/**
 * The one value of a 32-bit word with which a checksum over it comes out as `target`. A crc is
 * linear: what a bit of the word adds to it does not depend on the others.
 *
 * @param checksumWith the crc32c of a structure with this value in the word
 */
export function solveWord(checksumWith: (word: number) => number, target: number): number {
  const plain = checksumWith(0);
  let left = Array.from({ length: BITS }, (_, bit): Combination => {
    const word = (1 << bit) >>> 0;
    return { word, difference: checksumWith(word) ^ plain };
  });
  const solved: Combination = { word: 0, difference: plain ^ target };
  for (let bit = 0; bit < BITS; bit++) {
    const pivot = left.find(({ difference }) => hasBit(difference, bit));
    assert(pivot !== undefined, 'each bit of a word changes a crc in its own way');
    left = left.filter((other) => other !== pivot);
    for (const other of [...left, solved]) {
      if (!hasBit(other.difference, bit)) continue;
      other.difference ^= pivot.difference;
      other.word ^= pivot.word;
    }
  }
  return solved.word >>> 0;
}

function hasBit(value: number, bit: number): boolean {
  return ((value >>> bit) & 1) === 1;
}
