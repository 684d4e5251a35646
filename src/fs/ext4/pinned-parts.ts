import type { BrokenLayout } from '../../dax/broken-layout.js';
import { blocksOf, pagesOf } from './block-pages.js';
import type { Extent } from './extent.js';
import type { Volume } from './volume.js';

/** The pinned parts of an extent, ascending. As {@link BrokenLayout.pinnedIn}. */
export function pinnedParts(
  volume: Volume,
  { logical, physical, length, unwritten }: Extent,
  layout: BrokenLayout,
): Extent[] {
  const pages = pagesOf(volume, { start: physical, count: length });
  return layout.pinnedIn(pages).map((run) => {
    const { start, count } = blocksOf(volume, run);
    return { logical: logical + start - physical, physical: start, length: count, unwritten };
  });
}
