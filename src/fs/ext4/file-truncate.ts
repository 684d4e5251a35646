import type { BrokenLayout } from '../../dax/broken-layout.js';
import { roundDown, roundUp } from '../../lib/units.js';
import { NO_BLOCKS } from './extent.js';
import { zeroBehind, zeroRest } from './file-zero.js';
import { freeSpan, inTransactions } from './free-span.js';
import type { Inode } from './inode.js';
import { changeLayout } from './layout-break.js';
import type { Change, ChangeResult } from './layout-break.js';
import { BLOCK_SIZE } from './layout.js';
import { leavePinned } from './leave-pinned.js';
import { addOrphan, removeOrphan } from './orphans.js';
import { PinnedCopies } from './pinned-copies.js';
import { checkRange, readWritable, rereadWritable } from './regular-file.js';
import { touchContent } from './touch-content.js';
import type { Volume } from './volume.js';

/**
 * Sets the size of a file. Waits until no page is pinned that holds a byte at or past the
 * smaller of old and new size, growth included: the rest of the last page is zeroed. A wait
 * that is given up leaves the file as it was. With `defer` it waits for no page: those that are
 * pinned go into the quarantine, and a partly cut one is replaced by a copy.
 *
 * @throws DaxdError EISDIR, EINVAL, EFBIG, EROFS, EPERM, ENOENT, EIO, `cancelled`, `draining`;
 *   with `defer` ENOSPC and `quarantine-full`, and the file is as it was, or EEXIST
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
    const done = await changeLayout(volume, request, async (layout) => {
      waitedMs += layout.waitedMs;
      // Another change made the file shorter meanwhile: its last page is not waited for yet.
      if (waitFrom(rereadWritable(volume, volume, before), size) < from) return undefined;
      await change.onBegin?.();
      const inode = rereadWritable(volume, volume, before);
      if (size > inode.size) return await grow(volume, inode, size, layout);
      return await shrink(volume, inode, size, layout);
    });
    if (done !== undefined) return { waitedMs, ...done };
  }
}

/** First byte whose page has to be idle. */
function waitFrom(inode: Inode, size: number): number {
  return roundDown(Math.min(inode.size, size), BLOCK_SIZE);
}

/** What a change did to blocks, in bytes of them. */
type Done = Omit<ChangeResult, 'waitedMs'>;

async function grow(
  volume: Volume,
  before: Inode,
  size: number,
  layout: BrokenLayout,
): Promise<Done> {
  const rest = { from: before.size, to: roundUp(before.size, BLOCK_SIZE) };
  const copies = await PinnedCopies.ofEdges(volume, before, rest, layout);
  try {
    if (copies.isEmpty) await zeroBehind(volume, before);
    const left = await volume.transact((txn) => {
      const inode = rereadWritable(txn, volume, before);
      const blocks = leavePinned(txn, volume, { inode, span: NO_BLOCKS, copies }, layout);
      inode.size = size;
      touchContent(txn, volume, inode);
      inode.store(txn);
      return blocks;
    });
    return { freedBytes: 0, quarantinedBytes: left * BLOCK_SIZE };
  } finally {
    copies.release();
  }
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
): Promise<Done> {
  const span = { from: roundUp(size, BLOCK_SIZE) / BLOCK_SIZE, to: Infinity };
  const rest = { from: size, to: roundUp(size, BLOCK_SIZE) };
  const copies = await PinnedCopies.ofEdges(volume, before, rest, layout);
  // Taking a file off the list that is not on it does nothing, so a second run does no harm.
  let isListed = false;
  try {
    const { blocks, quarantined } = await inTransactions(volume, (txn) => {
      const inode = rereadWritable(txn, volume, before);
      const left = leavePinned(txn, volume, { inode, span, copies }, layout);
      const piece = freeSpan(txn, volume, { inode, span }, layout);
      inode.size = size;
      // One without a name is on the list for as long as it is open.
      if (!piece.isLast) addOrphan(txn, volume, inode);
      else if (isListed && inode.linksCount > 0) removeOrphan(txn, volume, inode);
      isListed ||= !piece.isLast;
      touchContent(txn, volume, inode);
      inode.store(txn);
      return { ...piece, quarantined: left };
    });
    await zeroRest(volume, before.number, rest);
    return { freedBytes: blocks * BLOCK_SIZE, quarantinedBytes: quarantined * BLOCK_SIZE };
  } finally {
    copies.release();
  }
}
