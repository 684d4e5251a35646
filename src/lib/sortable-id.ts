import { randomBytes } from 'node:crypto';

import { assert } from './assert.js';

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const TIME_DIGITS = 10;
const RANDOM_DIGITS = 16;

/**
 * Makes ids in the ULID format (48 bits of milliseconds, 80 of randomness, Crockford's
 * base 32) that sort in the order in which they were made, also within a millisecond and
 * when the wall clock steps back.
 */
export class SortableIds {
  #lastMs = 0;
  #lastRandom = 0n;
  readonly #wallMs: () => number;

  constructor(wallMs: () => number) {
    this.#wallMs = wallMs;
  }

  next(): string {
    const nowMs = Math.floor(this.#wallMs());
    if (nowMs > this.#lastMs) {
      this.#lastMs = nowMs;
      // One bit short of 80, so that increments within the millisecond cannot overflow.
      this.#lastRandom = BigInt(`0x${randomBytes(10).toString('hex')}`) >> 1n;
    } else {
      this.#lastRandom++;
    }
    const id = base32(BigInt(this.#lastMs), TIME_DIGITS) + base32(this.#lastRandom, RANDOM_DIGITS);
    assert(id.length === TIME_DIGITS + RANDOM_DIGITS, 'an id has 26 digits');
    return id;
  }
}

function base32(value: bigint, digits: number): string {
  let text = '';
  for (let rest = value, i = 0; i < digits; i++, rest >>= 5n) {
    text = (CROCKFORD[Number(rest & 31n)] ?? '') + text;
  }
  return text;
}
