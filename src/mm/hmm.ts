import type { Device } from '../base/device.js';
import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE } from '../lib/units.js';
import { UsageRef } from '../lib/usage-ref.js';
import { DevPagemap, MemoryType, type PageFree } from './dev-pagemap.js';
import type { Memremap } from './memremap.js';

/** What {@link hmmDevmemAdd} makes device memory from. */
export interface HmmDevmemOptions {
  /** How many pages the device has, 1 or more. */
  readonly pages: number;
  /** Hears of each page that goes idle. */
  readonly pageFree: PageFree;
}

/**
 * Gives the pages of memory that only a device can reach counts, of the type `Private`, at
 * addresses that nothing else has. It asks to hear of idle pages as an FS_DAX device does,
 * and gives that back with the device, which the posted patch never did.
 *
 * @throws DaxdError EOPNOTSUPP in a driver without idle-page wakeups.
 * @kernel hmm_devmem_add (mm/hmm.c)
 */
export async function hmmDevmemAdd(
  device: Device,
  memremap: Memremap,
  { pages, pageFree }: HmmDevmemOptions,
): Promise<DevPagemap> {
  if (!memremap.devPagemapOps) {
    throw new DaxdError(
      'EOPNOTSUPP',
      `${device.name}: device memory needs idle-page wakeups, which are built out`,
    );
  }
  memremap.devPagemapGetOps();
  await device.devres.addActionOrReset('hmm pagemap ops', () => {
    memremap.devPagemapPutOps();
  });

  const length = pages * PAGE_SIZE;
  const range = { start: memremap.freeAddressRange(length), length };
  const pgmap = new DevPagemap({ range, ref: new UsageRef() });
  pgmap.type = MemoryType.Private;
  pgmap.pageFree = pageFree;
  await memremap.devmMemremapPages(device, pgmap);
  return pgmap;
}
