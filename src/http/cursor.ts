import { DaxdError } from '../lib/errno.js';

/** What a listing says of a cursor that it did not give. */
export function unknownCursor(cursor: string): DaxdError {
  const text = JSON.stringify(cursor);
  return new DaxdError(
    'EINVAL',
    `cursor ${text} is not one of daxd's: give next_cursor of the page before`,
  );
}
