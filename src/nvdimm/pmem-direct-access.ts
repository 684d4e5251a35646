import type { Badblocks } from '../block/badblocks.js';
import type { DaxOperations, DirectAccess } from '../dax/dax-device.js';
import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE } from '../lib/units.js';
import type { BackingRange } from '../media/backing-range.js';

/**
 * Where the pages of a pmem disk lie: in one run, from the data offset of the namespace on.
 *
 * @kernel pmem_dax_ops, __pmem_direct_access (drivers/nvdimm/pmem.c)
 */
export class PmemDaxOperations implements DaxOperations {
  /** The disk; what its last partial page holds cannot be reached. */
  readonly #disk: BackingRange;
  readonly #badblocks: Badblocks;

  constructor(disk: BackingRange, badblocks: Badblocks) {
    this.#disk = disk;
    this.#badblocks = badblocks;
  }

  /**
   * All pages up to the end are available, or with any bad block on the device just those
   * asked for.
   *
   * @throws DaxdError EIO when a bad block lies in the range.
   */
  directAccess(pageOffset: number, pages: number): DirectAccess {
    const start = this.#disk.start + pageOffset * PAGE_SIZE;
    const bad = this.#badblocks.check({ start, length: pages * PAGE_SIZE });
    if (bad !== undefined) {
      throw new DaxdError(
        'EIO',
        `pages ${pageOffset} to ${pageOffset + pages} hold the bad block at byte ${bad.start} of the backing`,
      );
    }
    const toEnd = Math.floor(this.#disk.length / PAGE_SIZE) - pageOffset;
    const available = this.#badblocks.count > 0 ? Math.min(pages, toEnd) : toEnd;
    return { pfn: start / PAGE_SIZE, available };
  }
}
