import { assert } from './assert.js';
import { randomU32 } from './random-u32.js';

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const TIME_DIGITS = 10;
const RANDOM_DIGITS = 16;
/** Of 5 bits each, from one draw of 32. */
const DIGITS_PER_DRAW = 6;

/**
 * Makes ids in the ULID format (48 bits of milliseconds, 80 of randomness, Crockford's
 * base 32) that sort in the order in which they were made, also within a millisecond and
 * when the wall clock steps back.
 */
export class SortableIds {
  #lastMs = 0;
  #time = '';
  /** Base-32 digits, the most significant first. */
  readonly #random = new Uint8Array(RANDOM_DIGITS);
  readonly #wallMs: () => number;

  constructor(wallMs: () => number) {
    this.#wallMs = wallMs;
  }

  next(): string {
    const nowMs = Math.floor(this.#wallMs());
    if (nowMs > this.#lastMs) {
      this.#lastMs = nowMs;
      this.#time = timeText(nowMs);
      this.#drawRandom();
    } else {
      this.#increment();
    }
    let id = this.#time;
    for (let i = 0; i < RANDOM_DIGITS; i++) id += CROCKFORD[this.#random[i] ?? 0] ?? '';
    assert(id.length === TIME_DIGITS + RANDOM_DIGITS, 'an id has 26 digits');
    return id;
  }

  #drawRandom(): void {
    let bits = 0;
    for (let i = 0; i < RANDOM_DIGITS; i++) {
      if (i % DIGITS_PER_DRAW === 0) bits = randomU32();
      this.#random[i] = bits & 31;
      bits >>>= 5;
    }
    // One bit short of 80, so that increments within the millisecond cannot overflow.
    this.#random[0] = (this.#random[0] ?? 0) >> 1;
  }

  #increment(): void {
    for (let i = RANDOM_DIGITS - 1; i >= 0; i--) {
      const digit = ((this.#random[i] ?? 0) + 1) & 31;
      this.#random[i] = digit;
      if (digit !== 0) return;
    }
  }
}

function timeText(ms: number): string {
  let text = '';
  for (let rest = ms, i = 0; i < TIME_DIGITS; i++) {
    text = (CROCKFORD[rest % 32] ?? '') + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}
