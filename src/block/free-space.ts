import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE, PMD_SIZE, roundDown, roundUp } from '../lib/units.js';

/** A stretch of a disk in bytes, half open. */
export interface Stretch {
  readonly startBytes: number;
  readonly sizeBytes: number;
}

/** Where partitions may lie. */
export interface Space {
  /** Backing offset of disk byte 0: starts are aligned in the backing, where huge pages are. */
  readonly dataOffset: number;
  /** First usable byte of the disk, and the one after the last. */
  readonly firstByte: number;
  readonly endByte: number;
  /** What is taken, in any order. */
  readonly taken: readonly Stretch[];
}

/**
 * Finds room for a partition: the first stretch that holds `sizeBytes`, or without a size
 * the largest stretch. The start is a multiple of 2 MiB in the backing, so that direct
 * access can use whole blocks; the end is a multiple of 4096, without which the kernel
 * refuses DAX.
 *
 * @throws DaxdError EINVAL when the size is not a positive multiple of 4096; ENOSPC, naming
 * the largest stretch, when nothing fits.
 */
export function findSpace(space: Space, sizeBytes?: number): Stretch {
  if (sizeBytes !== undefined) refuseOddSize(sizeBytes);
  const free = freeStretches(space);
  const largest = free.reduce(
    (best, stretch) => (stretch.sizeBytes > best.sizeBytes ? stretch : best),
    { startBytes: 0, sizeBytes: 0 },
  );
  const fit =
    sizeBytes === undefined ? largest : free.find((stretch) => stretch.sizeBytes >= sizeBytes);
  if (fit === undefined || fit.sizeBytes === 0) {
    throw new DaxdError(
      'ENOSPC',
      `no room for a partition of ${sizeBytes ?? 'any'} bytes: the largest free stretch has ` +
        `${largest.sizeBytes} bytes from a multiple of 2 MiB of the backing`,
    );
  }
  return { startBytes: fit.startBytes, sizeBytes: sizeBytes ?? fit.sizeBytes };
}

/** The free stretches in order, cut to the alignment of partitions. */
function freeStretches({ dataOffset, firstByte, endByte, taken }: Space): Stretch[] {
  const free: Stretch[] = [];
  const byStart = taken.toSorted((a, b) => a.startBytes - b.startBytes);
  let cursor = firstByte;
  for (const { startBytes, sizeBytes } of [...byStart, { startBytes: endByte, sizeBytes: 0 }]) {
    const start = roundUp(dataOffset + cursor, PMD_SIZE) - dataOffset;
    const end = roundDown(dataOffset + startBytes, PAGE_SIZE) - dataOffset;
    if (end > start) free.push({ startBytes: start, sizeBytes: end - start });
    cursor = Math.max(cursor, startBytes + sizeBytes);
  }
  return free;
}

function refuseOddSize(sizeBytes: number): void {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes > 0 && sizeBytes % PAGE_SIZE === 0) return;
  throw new DaxdError(
    'EINVAL',
    `partition size ${sizeBytes} is not a positive multiple of ${PAGE_SIZE} bytes`,
  );
}
