import { assert } from './assert.js';
import { randomU32 } from './random.js';

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const TIME_DIGITS = 10;
const RANDOM_DIGITS = 16;
/** Of 5 bits each, from one draw of 32. */
const DIGITS_PER_DRAW = 6;
const SORTABLE_ID = new RegExp(`^[${CROCKFORD}]{${TIME_DIGITS + RANDOM_DIGITS}}$`);

/** Whether a text has the form of an id that {@link SortableIds} makes. */
export function isSortableId(text: string): boolean {
  return SORTABLE_ID.test(text);
}

/**
 * Makes ids in the ULID format (48 bits of milliseconds, 80 of randomness, Crockford's
 * base 32) that sort in the order in which they were made, also within a millisecond and
 * when the wall clock steps back.
 */
export class SortableIds {
  #lastMs = 0;
  /** The last id: its digits, and the text that they make. */
  readonly #digits = new Uint8Array(TIME_DIGITS + RANDOM_DIGITS);
  readonly #text = Buffer.alloc(TIME_DIGITS + RANDOM_DIGITS, CROCKFORD[0]);
  readonly #wallMs: () => number;

  constructor(wallMs: () => number) {
    this.#wallMs = wallMs;
  }

  /**
   * Has the next ids sort after `id` too, which an earlier process made. That may have made more
   * after it, so the next ones begin in a later millisecond, with digits of their own.
   */
  follow(id: string): void {
    if (id <= this.#text.toString('latin1')) return;
    const ms = wallMsOf(id);
    assert(id.length === this.#text.length && ms >= 0, `${id} is an id of this kind`);
    this.#lastMs = ms + 1;
    this.#setTime(this.#lastMs);
    this.#drawRandom();
  }

  next(): string {
    const nowMs = Math.floor(this.#wallMs());
    if (nowMs > this.#lastMs) {
      this.#lastMs = nowMs;
      this.#setTime(nowMs);
      this.#drawRandom();
    } else {
      this.#increment();
    }
    return this.#text.toString('latin1');
  }

  #setTime(ms: number): void {
    for (let rest = ms, i = TIME_DIGITS - 1; i >= 0; i--) {
      this.#set(i, rest % 32);
      rest = Math.floor(rest / 32);
    }
  }

  #drawRandom(): void {
    let bits = 0;
    for (let i = 0; i < RANDOM_DIGITS; i++) {
      if (i % DIGITS_PER_DRAW === 0) bits = randomU32();
      // One bit short of 80, so that increments within the millisecond cannot overflow.
      this.#set(TIME_DIGITS + i, i === 0 ? bits & 15 : bits & 31);
      bits >>>= 5;
    }
  }

  #increment(): void {
    for (let i = TIME_DIGITS + RANDOM_DIGITS - 1; i >= TIME_DIGITS; i--) {
      const digit = ((this.#digits[i] ?? 0) + 1) & 31;
      this.#set(i, digit);
      if (digit !== 0) return;
    }
  }

  #set(i: number, digit: number): void {
    this.#digits[i] = digit;
    this.#text[i] = CROCKFORD.charCodeAt(digit);
  }
}

/** When an id was made, by the wall clock, in milliseconds since the epoch; a little later where that stepped back. */
export function wallMsOf(id: string): number {
  let ms = 0;
  for (let i = 0; i < TIME_DIGITS; i++) ms = ms * 32 + CROCKFORD.indexOf(id.charAt(i));
  return ms;
}
