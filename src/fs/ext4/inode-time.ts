/**
 * Times of an inode: signed 32-bit seconds, and an extra field with two more bits of the
 * seconds and the nanoseconds above them.
 *
 * @kernel EXT4_INODE_GET_XTIME, ext4_encode_extra_time (fs/ext4/ext4.h)
 */

const NS_PER_SECOND = 1_000_000_000n;
const NS_PER_TICK = 1_000_000;
const NS_PER_STEP = 1000;
const EPOCH_BITS = 2;
const EPOCH_MASK = 3;
const SECONDS_MIN = -(2n ** 31n);
/** 2446-05-10: 34 bits of seconds that start at 1901. */
const SECONDS_MAX = SECONDS_MIN + 2n ** 34n - 1n;
const SECONDS_MAX_OLD = 2n ** 31n - 1n;

/** The two fields of a time. */
export interface EncodedTime {
  readonly seconds: number;
  readonly extra: number;
}

/** Whether an inode has the extra field of a time: without it there are seconds alone, up to 2038. */
export type TimeWidth = 'wide' | 'narrow';

/** Nanoseconds since 1970; `extra` is 0 where the inode has no such field. */
export function decodeTime(seconds: number, extra: number): bigint {
  const epoch = BigInt(extra & EPOCH_MASK) << 32n;
  return (BigInt(seconds) + epoch) * NS_PER_SECOND + BigInt(extra >>> EPOCH_BITS);
}

/**
 * The two fields of a time; what lies outside of the format's years is put at their ends,
 * and the last second of the last year has no fraction.
 *
 * @kernel timestamp_truncate (fs/inode.c)
 */
export function encodeTime(timeNs: bigint, width: TimeWidth = 'wide'): EncodedTime {
  const isWide = width === 'wide';
  const floored = timeNs < 0n && timeNs % NS_PER_SECOND !== 0n ? 1n : 0n;
  const whole = timeNs / NS_PER_SECOND - floored;
  const max = isWide ? SECONDS_MAX : SECONDS_MAX_OLD;
  const bounded = whole < SECONDS_MIN ? SECONDS_MIN : whole > max ? max : whole;
  const isInside = bounded > SECONDS_MIN && bounded < max;
  const ns = isWide && isInside ? Number(timeNs - whole * NS_PER_SECOND) : 0;
  const seconds = Number(BigInt.asIntN(32, bounded));
  const epoch = Number((bounded - BigInt(seconds)) >> 32n);
  return { seconds, extra: ((ns << EPOCH_BITS) | epoch) >>> 0 };
}

/**
 * The two fields of the clock's time, to the microsecond; bounded as {@link encodeTime} does it,
 * without its big numbers.
 */
export function encodeWallTime(wallMs: number, width: TimeWidth = 'wide'): EncodedTime {
  const isWide = width === 'wide';
  const us = Math.round(wallMs * 1000);
  const whole = Math.floor(us / 1e6);
  const min = Number(SECONDS_MIN);
  const max = Number(isWide ? SECONDS_MAX : SECONDS_MAX_OLD);
  const bounded = Math.min(Math.max(whole, min), max);
  const isInside = bounded > min && bounded < max;
  const ns = isWide && isInside ? (us - whole * 1e6) * 1000 : 0;
  const seconds = bounded | 0;
  const epoch = Math.round((bounded - seconds) / 2 ** 32);
  return { seconds, extra: ((ns << EPOCH_BITS) | epoch) >>> 0 };
}

/**
 * `now`, or where that is the same tick of a clock of milliseconds as the time before, a microsecond
 * behind that one.
 */
export function laterInTick(now: EncodedTime, seconds: number, extra: number): EncodedTime {
  const isSameSecond = seconds === now.seconds && (extra & EPOCH_MASK) === (now.extra & EPOCH_MASK);
  const behindNs = (extra >>> EPOCH_BITS) - (now.extra >>> EPOCH_BITS);
  if (!isSameSecond || behindNs < 0 || behindNs >= NS_PER_TICK - NS_PER_STEP) return now;
  return { seconds, extra: (extra + (NS_PER_STEP << EPOCH_BITS)) >>> 0 };
}

/** The clock's seconds in a field of 32 bits, from 1970 to 2106; at least 1, for 0 says "never". */
export function wallSeconds(wallMs: number): number {
  return Math.min(Math.max(1, Math.floor(wallMs / 1000)), 2 ** 32 - 1);
}
