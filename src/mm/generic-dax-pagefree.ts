import type { DevPagemap } from './dev-pagemap.js';
import type { PageWaiters } from './page-waiters.js';

/**
 * The `pageFree` of an FS_DAX pagemap: wakes those who wait for the page, or for a page of
 * the block (`pages` is then 512).
 *
 * @hot Once a page or block that goes idle.
 * @kernel generic_dax_pagefree (kernel/memremap.c)
 */
export function genericDaxPagefree(
  waiters: PageWaiters,
  pgmap: DevPagemap,
  index: number,
  pages: number,
): void {
  const pfn = pgmap.firstPfn + index;
  if (pages === 1) waiters.wakeUpVar(pfn);
  else waiters.wakeUpBlock(pfn, pgmap);
}
