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

/** An option that was given, as text. */
export function textOption(
  options: Readonly<Record<string, unknown>>,
  name: string,
): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}
