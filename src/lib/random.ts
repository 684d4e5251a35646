import { randomFillSync } from 'node:crypto';

const WORD_BYTES = 4;
/** Random bytes are drawn many at a time: a draw costs more than what is made of it. */
const pool = Buffer.alloc(4096);
let next = pool.length;

/** A random number from 0 to 2 ** 32 - 1, good enough for names that nobody may guess. */
export function randomU32(): number {
  return pool.readUInt32LE(draw(WORD_BYTES));
}

/**
 * So many random bytes in base64url, good enough for secrets.
 *
 * @param bytes at most 4096.
 */
export function randomText(bytes: number): string {
  const at = draw(bytes);
  return pool.toString('base64url', at, at + bytes);
}

/** Where in the pool bytes stand that nobody had. */
function draw(bytes: number): number {
  if (next + bytes > pool.length) {
    randomFillSync(pool);
    next = 0;
  }
  const at = next;
  next += bytes;
  return at;
}
