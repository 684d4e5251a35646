import { DaxdError } from '../../lib/errno.js';
import type { Extent } from './extent.js';
import type { Volume } from './volume.js';

/**
 * Checks that file data stand where the extents say, and not in the journal alone, as after a
 * crash under data=journal on a mount that may not store: whoever maps the media would find what
 * was there before.
 *
 * @throws DaxdError EOPNOTSUPP naming the block
 */
export function assertInPlace(
  { replayed }: Volume,
  number: number,
  extents: readonly Extent[],
): void {
  if (replayed.size === 0) return;
  for (const { physical, length } of extents) {
    for (let block = physical; block < physical + length; block++) {
      if (!replayed.has(block)) continue;
      throw new DaxdError(
        'EOPNOTSUPP',
        `inode ${number}: its block ${block} stands in the journal, and not in its place yet: mount the filesystem for writing, which replays the journal`,
      );
    }
  }
}
