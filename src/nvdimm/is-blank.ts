import { lyingAtEnds } from '../block/signature.js';
import { MIB } from '../lib/units.js';
import type { Backing } from '../media/backing.js';
import { BackingRange } from '../media/backing-range.js';

/** How much of each end must be zero; a hole is. */
export const BLANK_ENDS_BYTES = 16 * MIB;

/** Whether a backing may be initialised, and if not, what lies where. */
export type Blankness =
  | { readonly blank: true }
  | {
      readonly blank: false;
      /** Such as `an fsdax info block`, or `data` when it is nothing known. */
      readonly what: string;
      /** Byte offset in the backing. */
      readonly where: number;
    };

/**
 * Looks at the first and last 16 MiB of a backing. Reads only.
 */
export function isBlank(backing: Backing): Blankness {
  const range = new BackingRange(backing, 0, backing.sizeBytes);
  const lying = lyingAtEnds(range, BLANK_ENDS_BYTES);
  if (lying === undefined) return { blank: true };
  return { blank: false, what: lying.what, where: lying.offset };
}
