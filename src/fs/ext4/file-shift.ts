import type { BrokenLayout } from '../../dax/broken-layout.js';
import { DaxdError } from '../../lib/errno.js';
import { spliceExtents } from './extent-splice.js';
import { lastExtents, mapExtents, treeOf, WHOLE_FILE } from './extent-tree.js';
import type { ExtentTree } from './extent-tree.js';
import { clipExtents } from './extent.js';
import type { BlockSpan, Extent } from './extent.js';
import type { FileRange } from './file-space.js';
import { freeSpan, isNearlyFull } from './free-span.js';
import type { Inode } from './inode.js';
import { changeLayout } from './layout-break.js';
import type { Change, ChangeResult } from './layout-break.js';
import { BLOCK_SIZE, EXTENT_BLOCK_MAX, FILE_BLOCKS_MAX, FILE_SIZE_MAX } from './layout.js';
import { leavePinned } from './leave-pinned.js';
import { PinnedCopies } from './pinned-copies.js';
import { checkWholeBlocks, readWritable, rereadWritable } from './regular-file.js';
import { touchContent } from './touch-content.js';
import type { Transaction } from './transaction.js';
import type { ChangeStage, Volume } from './volume.js';

/** Extents moved at once. */
const MOVED_EXTENTS = 2 * EXTENT_BLOCK_MAX;

/** How far a file's extents have moved. */
interface Shifted {
  /** Logical block up to which, or from which on, they have; Infinity when that is all. */
  readonly at: number;
  /** Blocks that this step freed. */
  readonly freed: number;
  readonly isLast: boolean;
}

/**
 * Takes a range out of a file: its blocks are freed, and what lies behind it moves up to where
 * it began. Range in whole blocks, and it ends before the file does. Waits until no page from
 * the range on is pinned.
 *
 * Done in one transaction where the file's tree fits in; a power cut within a larger one
 * leaves the file with its old size, and what has not moved yet behind a hole of the range's
 * length.
 *
 * @throws DaxdError EINVAL for such a range, and as `punchHole` does
 * @kernel ext4_collapse_range (fs/ext4/extents.c)
 */
export async function collapseRange(
  volume: Volume,
  number: number,
  range: FileRange,
  change: Change = {},
): Promise<ChangeResult> {
  const span = checkWholeBlocks(range.offset, range.length);
  return await shiftRange(volume, number, change, {
    op: 'collapse-range',
    span,
    gone: span,
    start: span.to,
    check: (inode) => {
      checkCollapse(inode, range);
    },
    step: (txn, place, layout) => {
      checkCollapse(place.inode, range);
      const step = collapseStep(txn, volume, place, layout);
      if (step.isLast) place.inode.size -= range.length;
      return step;
    },
  });
}

/**
 * Makes room in a file: what lies from `offset` on moves back by `length`, and a hole is left.
 * Range in whole blocks, and it begins before the file ends. Waits until no page from
 * `offset` on is pinned.
 *
 * Done in one transaction where the file's tree fits in; a power cut within a larger one
 * leaves the file with its new size, and a hole of the range's length before what moved.
 *
 * @throws DaxdError EINVAL for such a range, EFBIG, and as `punchHole` does
 * @kernel ext4_insert_range (fs/ext4/extents.c)
 */
export async function insertRange(
  volume: Volume,
  number: number,
  range: FileRange,
  change: Change = {},
): Promise<ChangeResult> {
  const span = checkWholeBlocks(range.offset, range.length);
  return await shiftRange(volume, number, change, {
    op: 'insert-range',
    span,
    gone: { from: span.from, to: span.from },
    start: Infinity,
    check: (inode) => {
      checkInsert(treeOf(volume, volume, inode), range);
    },
    step: (txn, place) => {
      if (place.at === Infinity) {
        checkInsert(treeOf(txn, volume, place.inode), range);
        place.inode.size += range.length;
      }
      return insertStep(txn, volume, place);
    },
  });
}

/** What moves a file's blocks about. */
interface Shift {
  readonly op: 'collapse-range' | 'insert-range';
  readonly span: BlockSpan;
  /** What leaves the file; what lies behind it moves. */
  readonly gone: BlockSpan;
  /** Where the first step takes the work up. */
  readonly start: number;
  /** @throws DaxdError EINVAL, EFBIG for a range that does not fit the file */
  readonly check: (inode: Inode) => void;
  /** As much as one transaction holds, the size of the file too. */
  readonly step: (txn: Transaction, place: Place, layout: BrokenLayout) => Shifted;
}

/**
 * Waits until no page from the range on is pinned, then moves what lies there. A change that
 * defers waits for none: of what is pinned and stays in the file a copy is moved.
 */
async function shiftRange(
  volume: Volume,
  number: number,
  change: Change,
  { op, span, gone, start, check, step }: Shift,
): Promise<ChangeResult> {
  const before = readWritable(volume, volume, number);
  check(before);
  const from = span.from * BLOCK_SIZE;
  const request = { ...change, op, inode: number, from, to: Infinity };
  return await changeLayout(volume, request, async (layout) => {
    await change.onBegin?.();
    const now = rereadWritable(volume, volume, before);
    const kept = { from: gone.to, to: Infinity };
    const copies = await PinnedCopies.ofSpan(volume, now, kept, layout);
    try {
      const done = await inSteps(volume, start, (txn, at, stage) => {
        txn.requireIdle(layout);
        const inode = rereadWritable(txn, volume, before, stage);
        const quarantined = leavePinned(txn, volume, { inode, span: gone, copies }, layout);
        const shifted = step(txn, { inode, span, at }, layout);
        touchContent(txn, volume, inode);
        inode.store(txn);
        return { ...shifted, quarantined };
      });
      return { waitedMs: layout.waitedMs, ...done };
    } finally {
      copies.release();
    }
  });
}

/**
 * Runs steps, a transaction each, until one is the last; gives what became of blocks. An unmount
 * that begins between two of them waits: half of the file would have moved.
 */
async function inSteps(
  volume: Volume,
  start: number,
  step: (
    txn: Transaction,
    at: number,
    stage: ChangeStage,
  ) => Shifted & { readonly quarantined: number },
): Promise<Omit<ChangeResult, 'waitedMs'>> {
  let freedBytes = 0;
  let quarantinedBytes = 0;
  let stage: ChangeStage = {};
  for (let at = start; ;) {
    const [from, current] = [at, stage];
    const done = await volume.transact((txn) => step(txn, from, current), current);
    freedBytes += done.freed * BLOCK_SIZE;
    quarantinedBytes += done.quarantined * BLOCK_SIZE;
    if (done.isLast) return { freedBytes, quarantinedBytes };
    stage = { isUnderWay: true };
    at = done.at;
  }
}

/** Where a step takes the work up: in the file that it is about. */
interface Place {
  readonly inode: Inode;
  readonly span: BlockSpan;
  readonly at: number;
}

/** Frees the range, then moves what lies from `at` on up, as far as a transaction goes. */
function collapseStep(
  txn: Transaction,
  volume: Volume,
  { inode, span, at: start }: Place,
  layout: BrokenLayout,
): Shifted {
  let freed = 0;
  if (start === span.to) {
    const piece = freeSpan(txn, volume, { inode, span }, layout);
    freed = piece.blocks;
    if (!piece.isLast) return { at: start, freed, isLast: false };
  }
  const by = span.to - span.from;
  for (let at = start; ;) {
    const rest = { from: at, to: Infinity };
    const extents = mapExtents(treeOf(txn, volume, inode), { ...rest, max: MOVED_EXTENTS });
    const last = extents.at(-1);
    if (last === undefined) return { at, freed, isLast: true };
    if (isNearlyFull(txn, volume)) return { at, freed, isLast: false };
    const to = last.logical + last.length;
    // What is moved away left a hole before it, or the range did.
    const moved = movedBy(clipExtents(extents, rest), -by);
    spliceExtents(txn, volume, { inode, span: { from: at - by, to } }, moved);
    at = to;
  }
}

/** Moves what lies before `at` and not before the range back, as far as a transaction goes. */
function insertStep(txn: Transaction, volume: Volume, { inode, span, at: start }: Place): Shifted {
  const by = span.to - span.from;
  const tree = treeOf(txn, volume, inode);
  for (let at = start; ;) {
    const rest = { from: span.from, to: at };
    const extents = clipExtents(lastExtents(tree, rest), rest);
    const [first] = extents;
    const last = extents.at(-1);
    if (first === undefined || last === undefined) return { at, freed: 0, isLast: true };
    if (at < start && isNearlyFull(txn, volume)) return { at, freed: 0, isLast: false };
    // What lay behind them has moved by as much.
    const to = last.logical + last.length + by;
    spliceExtents(txn, volume, { inode, span: { from: first.logical, to } }, movedBy(extents, by));
    at = first.logical;
  }
}

function movedBy(extents: readonly Extent[], blocks: number): Extent[] {
  return extents.map((extent) => ({ ...extent, logical: extent.logical + blocks }));
}

function checkCollapse({ number, size }: Inode, { offset, length }: FileRange): void {
  if (offset + length < size) return;
  throw new DaxdError(
    'EINVAL',
    `inode ${number}: bytes ${offset} to ${offset + length} reach the end of a file of ${size} bytes; truncate it instead`,
  );
}

function checkInsert(tree: ExtentTree, { offset, length }: FileRange): void {
  const { number, size } = tree.inode;
  if (offset >= size) {
    throw new DaxdError(
      'EINVAL',
      `inode ${number}: byte ${offset} is not in a file of ${size} bytes; truncate it to grow it`,
    );
  }
  if (size + length > FILE_SIZE_MAX) {
    throw new DaxdError('EFBIG', `inode ${number}: ${size + length} bytes, over ${FILE_SIZE_MAX}`);
  }
  const last = lastExtents(tree, WHOLE_FILE).at(-1);
  const end = last === undefined ? 0 : last.logical + last.length;
  if (end + length / BLOCK_SIZE <= FILE_BLOCKS_MAX) return;
  throw new DaxdError('EINVAL', `inode ${number}: its blocks would end past the largest file`);
}
