import type { BrokenLayout } from '../../dax/broken-layout.js';
import { roundDown, roundUp } from '../../lib/units.js';
import { DataStores, writtenOf } from './data-stores.js';
import { mapExtents } from './extent-tree.js';
import { zeroPastEnd } from './file-write.js';
import { freeSpan, inTransactions } from './free-span.js';
import type { Inode } from './inode.js';
import { changeLayout } from './layout-break.js';
import type { Change } from './layout-break.js';
import { BLOCK_SIZE } from './layout.js';
import { addOrphan, removeOrphan } from './orphans.js';
import { checkRange, readRegular, readWritable, rereadWritable } from './regular-file.js';
import type { Volume } from './volume.js';

/** How a change that may wait went. */
export interface ChangeResult {
  /** How long pinned pages, or an earlier change, were waited for. */
  readonly waitedMs: number;
  /** Data that was freed, in whole blocks. */
  readonly freedBytes: number;
}

/**
 * Sets the size of a file. Waits until no page is pinned that holds a byte at or past the
 * smaller of old and new size, growth included: the rest of the last page is zeroed. A wait
 * that is given up leaves the file as it was.
 *
 * @throws DaxdError EISDIR, EINVAL, EFBIG, EROFS, EPERM, ENOENT, EIO, `cancelled`, `draining`
 * @kernel ext4_setattr, ext4_truncate (fs/ext4/inode.c)
 */
export async function truncateFile(
  volume: Volume,
  number: number,
  size: number,
  change: Change = {},
): Promise<ChangeResult> {
  checkRange(size, 0);
  const before = readWritable(volume, volume, number);
  let waitedMs = 0;
  for (;;) {
    const from = waitFrom(rereadWritable(volume, volume, before), size);
    const request = { ...change, op: 'truncate', inode: number, from, to: Infinity } as const;
    const freedBytes = await changeLayout(volume, request, async (layout) => {
      waitedMs += layout.waitedMs;
      const inode = rereadWritable(volume, volume, before);
      // Another change made the file shorter meanwhile: its last page is not waited for yet.
      if (waitFrom(inode, size) < from) return undefined;
      if (size > inode.size) return await grow(volume, inode, size);
      return await shrink(volume, inode, size, layout);
    });
    if (freedBytes !== undefined) return { waitedMs, freedBytes };
  }
}

/** First byte whose page has to be idle. */
function waitFrom(inode: Inode, size: number): number {
  return roundDown(Math.min(inode.size, size), BLOCK_SIZE);
}

async function grow(volume: Volume, before: Inode, size: number): Promise<number> {
  const stores = new DataStores(volume);
  zeroPastEnd(volume, before, Infinity, stores);
  await stores.persist();
  await volume.transact((txn) => {
    const inode = rereadWritable(txn, volume, before);
    inode.size = size;
    inode.touch();
    inode.store(txn);
  });
  return 0;
}

/**
 * The size is committed before the rest of the last block is zeroed: the other way round a
 * power cut would leave the old size over zeros. What one transaction cannot free goes in
 * further ones; the file is on the orphan list until then, so that a mount after a power cut
 * finishes it.
 */
async function shrink(
  volume: Volume,
  before: Inode,
  size: number,
  layout: BrokenLayout,
): Promise<number> {
  const span = { from: roundUp(size, BLOCK_SIZE) / BLOCK_SIZE, to: Infinity };
  // Taking a file off the list that is not on it does nothing, so a second run does no harm.
  let isListed = false;
  const freed = await inTransactions(volume, (txn) => {
    const inode = rereadWritable(txn, volume, before);
    const piece = freeSpan(txn, volume, { inode, span }, layout);
    inode.size = size;
    // One without a name is on the list for as long as it is open.
    if (!piece.isLast) addOrphan(txn, volume, inode);
    else if (isListed && inode.linksCount > 0) removeOrphan(txn, volume, inode);
    isListed ||= !piece.isLast;
    inode.touch();
    inode.store(txn);
    return piece;
  });
  await zeroRest(volume, before.number, { from: size, to: roundUp(size, BLOCK_SIZE) });
  return freed * BLOCK_SIZE;
}

/** Zeroes bytes of a file, durably, where they lie in written blocks; elsewhere they are zero. */
export async function zeroRest(
  volume: Volume,
  number: number,
  { from, to }: { readonly from: number; readonly to: number },
): Promise<void> {
  if (from >= to) return;
  const inode = readRegular(volume, volume, number);
  const span = { from: Math.floor(from / BLOCK_SIZE), to: Math.ceil(to / BLOCK_SIZE) };
  const stores = new DataStores(volume);
  stores.zero(writtenOf(mapExtents(volume, volume, inode, span)), { from, to });
  await stores.persist();
}
