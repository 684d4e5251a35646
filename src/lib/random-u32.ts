import { randomFillSync } from 'node:crypto';

const WORD_BYTES = 4;
/** Random bytes are drawn many at a time: a draw costs more than what is made of it. */
const pool = Buffer.alloc(4096);
let next = pool.length;

/** A random number from 0 to 2 ** 32 - 1, good enough for names that nobody may guess. */
export function randomU32(): number {
  if (next === pool.length) {
    randomFillSync(pool);
    next = 0;
  }
  const value = pool.readUInt32LE(next);
  next += WORD_BYTES;
  return value;
}
