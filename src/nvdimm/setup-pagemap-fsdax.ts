import type { Device } from '../base/device.js';
import { type DevPagemap, MemoryType } from '../mm/dev-pagemap.js';
import { genericDaxPagefree } from '../mm/generic-dax-pagefree.js';
import type { Memremap } from '../mm/memremap.js';
import type { PageWaiters } from '../mm/page-waiters.js';

/** What a pagemap needs to report its idle pages. */
export interface FsdaxPorts {
  readonly memremap: Memremap;
  readonly waiters: PageWaiters;
}

/**
 * Makes a pagemap report its idle pages, so that a filesystem can wait for DMA to end before
 * it frees their blocks. A driver built without that leaves the type undefined, and direct
 * access is refused on its pages.
 *
 * @kernel setup_pagemap_fsdax (drivers/nvdimm/pmem.c)
 */
export async function setupPagemapFsdax(
  device: Device,
  pgmap: DevPagemap,
  { memremap, waiters }: FsdaxPorts,
): Promise<void> {
  memremap.devPagemapGetOps();
  await device.devres.addActionOrReset('pagemap ops', () => {
    memremap.devPagemapPutOps();
  });

  if (!memremap.devPagemapOps) return;
  pgmap.type = MemoryType.FsDax;
  pgmap.pageFree = (index, pages) => {
    genericDaxPagefree(waiters, pgmap, index, pages);
  };
}
