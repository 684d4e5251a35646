import type { BrokenLayout } from '../../dax/broken-layout.js';
import { DaxdError } from '../../lib/errno.js';
import { roundDown, roundUp } from '../../lib/units.js';
import { blocksAround, wholeBlocks } from './byte-span.js';
import type { ByteSpan } from './byte-span.js';
import { NO_BLOCKS } from './extent.js';
import type { BlockSpan } from './extent.js';
import { zeroBehind, zeroEdges } from './file-zero.js';
import { freeSpan, inTransactions } from './free-span.js';
import { assertFillFits, HoleFill } from './hole-fill.js';
import type { Inode } from './inode.js';
import { changeLayout } from './layout-break.js';
import type { Change, ChangeResult, FileLayoutChange } from './layout-break.js';
import { BLOCK_SIZE } from './layout.js';
import { leavePinned } from './leave-pinned.js';
import { nameFill } from './name-fill.js';
import { PinnedCopies } from './pinned-copies.js';
import { checkRange, readWritable, rereadWritable } from './regular-file.js';
import { touchContent } from './touch-content.js';
import type { Volume } from './volume.js';
import { whenSpace } from './when-space.js';

/** A stretch of a file that an operation is asked for, in bytes. */
export interface FileRange {
  readonly offset: number;
  /** 1 or more. */
  readonly length: number;
}

/** One that may reach past the end of the file. */
export interface SpaceRange extends FileRange {
  /** Leaves the size alone; otherwise the file grows to hold the range. */
  readonly keepSize: boolean;
}

/**
 * Makes bytes of a file read as zeros and frees the blocks that lie wholly among them. Bytes
 * past the block with the end of the file are left alone. Waits until no page is pinned that
 * holds one of the bytes.
 *
 * What one transaction cannot free goes in several, from the end of the range on: a power cut
 * may leave the first part of a huge range as it was. With `defer`, what is pinned goes in the
 * first one.
 *
 * @throws DaxdError as `truncateFile` does; ENOSPC where the extent tree must grow for it
 * @kernel ext4_punch_hole (fs/ext4/inode.c)
 */
export async function punchHole(
  volume: Volume,
  number: number,
  range: FileRange,
  change: Change = {},
): Promise<ChangeResult> {
  const request = requestFor(volume, number, range, { ...change, op: 'punch-hole' });
  const before = readWritable(volume, volume, number);
  return await changeLayout(volume, request, async (layout) => {
    await change.onBegin?.();
    const now = rereadWritable(volume, volume, before);
    const { size } = now;
    const end = range.offset + range.length;
    const to = end > size ? roundUp(size, BLOCK_SIZE) : end;
    // Past the end nothing is punched, and the file counts as modified all the same.
    const bytes = { from: range.offset, to: range.offset >= size ? range.offset : to };
    const copies = await PinnedCopies.ofEdges(volume, now, bytes, layout);
    const done = await punchHeld(volume, now, { bytes, copies }, layout);
    return { waitedMs: layout.waitedMs, ...done };
  });
}

/** Punches with the layout broken and the file's gate held; the copies are used up. */
async function punchHeld(
  volume: Volume,
  before: Inode,
  { bytes, copies }: { readonly bytes: ByteSpan; readonly copies: PinnedCopies },
  layout: BrokenLayout,
): Promise<Omit<ChangeResult, 'waitedMs'>> {
  const span = wholeBlocks(bytes);
  try {
    const { blocks, quarantined } = await inTransactions(volume, (txn) => {
      const inode = rereadWritable(txn, volume, before);
      const left = leavePinned(txn, volume, { inode, span, copies }, layout);
      const piece = freeSpan(txn, volume, { inode, span }, layout);
      touchContent(txn, volume, inode);
      inode.store(txn);
      return { ...piece, quarantined: left };
    });
    await zeroEdges(volume, before.number, bytes);
    return { freedBytes: blocks * BLOCK_SIZE, quarantinedBytes: quarantined * BLOCK_SIZE };
  } finally {
    copies.release();
  }
}

/**
 * Makes bytes of a file read as zeros without freeing: whole blocks become unwritten, holes
 * get unwritten blocks, the rest is zeroed in place. Waits as {@link punchHole} does. With
 * `defer`, pinned blocks are replaced, in a transaction of their own before the others change.
 *
 * @throws DaxdError as `truncateFile` does; ENOSPC
 * @kernel ext4_zero_range (fs/ext4/extents.c)
 */
export async function zeroRange(
  volume: Volume,
  number: number,
  range: SpaceRange,
  change: Change = {},
): Promise<ChangeResult> {
  const request = requestFor(volume, number, range, { ...change, op: 'zero-range' });
  const before = readWritable(volume, volume, number);
  return await changeLayout(volume, request, async (layout) => {
    await change.onBegin?.();
    const bytes = { from: range.offset, to: range.offset + range.length };
    const left = await leaveZeroed(volume, before, bytes, layout);
    await allocate(volume, before, range, wholeBlocks(bytes));
    await zeroEdges(volume, number, bytes);
    const { waitedMs } = layout;
    return { waitedMs, freedBytes: 0, quarantinedBytes: left * BLOCK_SIZE };
  });
}

/**
 * Puts blocks that read as zeros in the place of pinned ones, and copies in that of pinned ones
 * with an edge; gives how many blocks went into the quarantine.
 */
async function leaveZeroed(
  volume: Volume,
  before: Inode,
  bytes: ByteSpan,
  layout: BrokenLayout,
): Promise<number> {
  if (!layout.change.defers) return 0;
  const now = rereadWritable(volume, volume, before);
  const copies = await PinnedCopies.ofZeroed(volume, now, bytes, layout);
  try {
    if (copies.isEmpty) return 0;
    // What the holes take afterwards is looked for first: without it nothing changes.
    const span = blocksAround(bytes);
    await whenSpace(volume, () => {
      const inode = rereadWritable(volume, volume, before);
      assertFillFits(volume, inode, span, { unwrite: wholeBlocks(bytes) });
    });
    return await volume.transact((txn) => {
      const inode = rereadWritable(txn, volume, before);
      const left = leavePinned(txn, volume, { inode, span: NO_BLOCKS, copies }, layout);
      touchContent(txn, volume, inode);
      inode.store(txn);
      return left;
    });
  } finally {
    copies.release();
  }
}

/**
 * Gives a file blocks for all of a range, those that are new unwritten: they read as zeros,
 * and writing to them needs no more space. Waits for no pinned page.
 *
 * @throws DaxdError EISDIR, EINVAL, EFBIG, ENOSPC, EROFS, EPERM, ENOENT, EIO
 * @kernel ext4_fallocate (fs/ext4/extents.c)
 */
export async function fallocate(volume: Volume, number: number, range: SpaceRange): Promise<void> {
  checkSpaceRange(range);
  const before = readWritable(volume, volume, number);
  await volume.withInode(number, async () => {
    await allocate(volume, before, range, undefined);
  });
}

/**
 * Fills the holes of a range with unwritten blocks, makes the blocks of `unwrite` unwritten,
 * and lets the file grow. In one transaction; what it cannot hold goes in several, from the
 * start on.
 */
async function allocate(
  volume: Volume,
  before: Inode,
  { offset, length, keepSize }: SpaceRange,
  unwrite: BlockSpan | undefined,
): Promise<void> {
  const end = offset + length;
  const last = Math.ceil(end / BLOCK_SIZE);
  let isZeroed = false;
  for (let from = Math.floor(offset / BLOCK_SIZE); from < last;) {
    const rest = { from, to: last };
    const fill = await whenSpace(volume, () => {
      const inode = rereadWritable(volume, volume, before);
      return HoleFill.reserve(volume, inode, rest, { unwrite });
    });
    const { span } = fill;
    const sizeMin = keepSize ? 0 : Math.min(end, span.to * BLOCK_SIZE);
    const prepare = async (): Promise<void> => {
      const inode = rereadWritable(volume, volume, before);
      if (sizeMin > inode.size && !isZeroed) await zeroBehind(volume, inode);
      isZeroed = true;
    };
    await nameFill(volume, before, fill, { prepare, sizeMin });
    from = span.to;
  }
}

/** A range as a layout change, rounded out to pages. */
function requestFor(
  volume: Volume,
  number: number,
  range: FileRange,
  change: Change & Pick<FileLayoutChange, 'op'>,
): FileLayoutChange {
  const end = checkSpaceRange(range);
  volume.assertWritable();
  return {
    ...change,
    inode: number,
    from: roundDown(range.offset, BLOCK_SIZE),
    to: roundUp(end, BLOCK_SIZE),
  };
}

function checkSpaceRange({ offset, length }: FileRange): number {
  const end = checkRange(offset, length);
  if (length === 0) throw new DaxdError('EINVAL', 'a length of 0 bytes: give 1 or more');
  return end;
}
