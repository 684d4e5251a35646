import { DaxdError, type ErrorCode } from '../lib/errno.js';
import { PAGE_SIZE, isAligned } from '../lib/units.js';
import { MemoryType } from '../mm/dev-pagemap.js';
import type { Memremap } from '../mm/memremap.js';
import type { DaxDevice } from './dax-device.js';

/** Whether a partition can be mounted with direct access, and if not, why. */
export type DaxSupport =
  | { readonly supported: true }
  | { readonly supported: false; readonly errno: ErrorCode; readonly reason: string };

/** What {@link bdevDaxSupported} looks at. */
export interface DaxSupportOptions {
  /** Where the partition starts on its disk, in bytes. */
  readonly startBytes: number;
  readonly sizeBytes: number;
  /** The disk's way to its pages; undefined where it has none. */
  readonly daxDevice: DaxDevice | undefined;
  readonly memremap: Memremap;
  /** The block size of the filesystem, in bytes. */
  readonly blockSize: number;
}

/**
 * Whether a filesystem on the partition can use direct access. The first check that fails
 * gives the errno: block size, start, size (EINVAL); a live dax device (EOPNOTSUPP); first
 * and last page within reach (the device's errno); both in one FS_DAX pagemap (EOPNOTSUPP).
 *
 * @kernel __bdev_dax_supported (drivers/dax/super.c), with the size check of 6.1 and the last
 *   page of 5.1
 */
export function bdevDaxSupported(options: DaxSupportOptions): DaxSupport {
  const { startBytes, sizeBytes, daxDevice, memremap, blockSize } = options;
  if (blockSize !== PAGE_SIZE) {
    return refuse('EINVAL', `block size ${blockSize} is not the page size ${PAGE_SIZE}`);
  }
  if (!isAligned(startBytes, PAGE_SIZE)) {
    return refuse('EINVAL', `start ${startBytes} is not on a page of ${PAGE_SIZE} bytes`);
  }
  if (sizeBytes <= 0 || !isAligned(sizeBytes, PAGE_SIZE)) {
    return refuse('EINVAL', `size ${sizeBytes} is not a number of pages of ${PAGE_SIZE} bytes`);
  }
  if (daxDevice?.alive !== true) {
    return refuse('EOPNOTSUPP', 'the disk has no dax device');
  }

  const first = reach(daxDevice, startBytes / PAGE_SIZE);
  if (typeof first !== 'number') return first;
  const last = reach(daxDevice, (startBytes + sizeBytes) / PAGE_SIZE - 1);
  if (typeof last !== 'number') return last;
  return inOneFsDaxPagemap(memremap, first, last);
}

/** The pfn at page `pageOffset` of the disk, or why it cannot be had. */
function reach(daxDevice: DaxDevice, pageOffset: number): number | DaxSupport {
  try {
    return daxDevice.directAccess(pageOffset, 1).pfn;
  } catch (error) {
    if (!(error instanceof DaxdError)) throw error;
    return refuse(error.code, `page ${pageOffset} of the disk: ${error.message}`);
  }
}

function inOneFsDaxPagemap(memremap: Memremap, firstPfn: number, lastPfn: number): DaxSupport {
  const pgmap = memremap.getDevPagemap(firstPfn);
  if (pgmap === undefined) return refuse('EOPNOTSUPP', `page ${firstPfn} has no page counts`);
  try {
    if (pgmap.type !== MemoryType.FsDax) {
      return refuse('EOPNOTSUPP', `page ${firstPfn} does not report when it goes idle`);
    }
    if (!pgmap.holds(firstPfn, 1) || !pgmap.holds(lastPfn, 1)) {
      return refuse('EOPNOTSUPP', `pages ${firstPfn} and ${lastPfn} are not of one pagemap`);
    }
    return { supported: true };
  } finally {
    memremap.putDevPagemap(pgmap);
  }
}

function refuse(errno: ErrorCode, reason: string): DaxSupport {
  return { supported: false, errno, reason };
}
