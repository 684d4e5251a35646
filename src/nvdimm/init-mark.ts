import type { Backing } from '../media/backing.js';
import { BackingRange } from '../media/backing-range.js';

/** In the 4 KiB before the info block, which belong to nobody. */
const MARK_OFFSET = 0;
const MARK = Buffer.from('daxd --init was cut short here: give --init again.'.padEnd(63) + '\n');

/**
 * Whether an initialisation was begun here and not ended. Everything on such a backing is
 * daxd's own: it was blank before.
 */
export function isInitCut(backing: Backing): boolean {
  const found = Buffer.alloc(MARK.length);
  new BackingRange(backing, MARK_OFFSET, MARK.length).read(0, found);
  return found.equals(MARK);
}

/** Marks a backing before the first other byte is written. Settles when it is durable. @throws DaxdError EIO */
export async function markInit(backing: Backing): Promise<void> {
  backing.checkSize();
  backing.mapping.write(MARK_OFFSET, MARK);
  await backing.persist(MARK_OFFSET, MARK.length);
}

/**
 * Takes the mark of a backing away, if it has one, once all that was to be made there is
 * durable. Settles when that is, too.
 *
 * @throws DaxdError EIO
 */
export async function endInit(backing: Backing): Promise<void> {
  if (!isInitCut(backing)) return;
  backing.mapping.fill(MARK_OFFSET, MARK.length, 0);
  await backing.persist(MARK_OFFSET, MARK.length);
}
