import type { BackingRange } from '../media/backing-range.js';

/**
 * How an operator gets at the table of a disk. Behind an info block the disk begins within the
 * backing, and a partitioning tool that is given the backing itself writes over that block.
 */
export function repairAdvice({ start, length, backing }: BackingRange): string {
  if (start === 0) return 'correct the table with sgdisk or gdisk';
  return (
    `correct the table with sgdisk or gdisk on the device that ` +
    `"losetup --find --show --offset ${start} --sizelimit ${length} ${backing.path}" names, never on ${backing.path} itself`
  );
}
