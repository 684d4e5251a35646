import { parseDurationMs } from '../lib/duration.js';
import { DaxdError } from '../lib/errno.js';
import { parseSize } from '../lib/units.js';
import { UsageError } from './usage-error.js';

/** Bytes, or a number with K, M, G or T. @throws UsageError naming `what`. */
export function sizeValue(text: unknown, what: string): number {
  try {
    return parseSize(String(text));
  } catch (cause) {
    if (!(cause instanceof DaxdError)) throw cause;
    throw new UsageError(`${what}: ${cause.message}`, { cause });
  }
}

/** A whole number. @throws UsageError naming `what`. */
export function countValue(text: unknown, what: string): number {
  const value = /^\d+$/.test(String(text)) ? Number(text) : NaN;
  if (Number.isSafeInteger(value)) return value;
  throw new UsageError(`${what}: "${String(text)}" is not a whole number`);
}

/** Milliseconds of seconds, or of a number with ms, s or m. @throws UsageError naming `what`. */
export function durationMsValue(text: unknown, what: string): number {
  const valueMs = parseDurationMs(String(text));
  if (valueMs !== undefined) return valueMs;
  throw new UsageError(`${what}: "${String(text)}" is not a time: give seconds, or 500ms, 30s, 5m`);
}

/** Permission bits in octal, as chmod takes them. @throws UsageError naming `what`. */
export function modeValue(text: unknown, what: string): number {
  const value = String(text);
  if (/^[0-7]{1,4}$|^0[0-7]{4}$/.test(value)) return Number.parseInt(value, 8);
  throw new UsageError(`${what}: "${value}" is not a mode such as 0644`);
}

/** One of some words. @throws UsageError naming `what`. */
export function choiceValue<Word extends string>(
  text: unknown,
  what: string,
  words: readonly Word[],
): Word {
  const found = words.find((word) => word === text);
  if (found !== undefined) return found;
  throw new UsageError(`${what}: "${String(text)}" is none of ${words.join(', ')}`);
}

/** An option that was given, as text. */
export function textOption(
  options: Readonly<Record<string, unknown>>,
  name: string,
): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}
