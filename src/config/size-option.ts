import { DaxdError } from '../lib/errno.js';
import { parseSize } from '../lib/units.js';

/** Bytes that an option gives. @throws DaxdError EINVAL naming the option. */
export function sizeOption(option: string, text: string): number {
  try {
    return parseSize(text);
  } catch (cause) {
    if (!(cause instanceof DaxdError)) throw cause;
    throw new DaxdError('EINVAL', `${option} ${cause.message}`, { cause });
  }
}
