import type { BrokenLayout } from '../../dax/broken-layout.js';
import { countRuns } from '../block-run.js';
import type { BlockRun } from '../block-run.js';
import { damaged } from '../damage.js';
import { freeBlocks } from './allocator.js';
import { blocksOf, pagesOf } from './block-pages.js';
import { spliceExtents } from './extent-splice.js';
import { extentsWithin, treeOf } from './extent-tree.js';
import { joinExtents, nearExtents, spanOf, subtractExtents } from './extent.js';
import type { BlockSpan, Extent } from './extent.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import type { PinnedCopies } from './pinned-copies.js';
import { pinnedParts } from './pinned-parts.js';
import { openQuarantine } from './quarantine-file.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** What of a file is about to be freed. */
export interface Leaving {
  readonly inode: Inode;
  readonly span: BlockSpan;
  /** What takes the place of pinned blocks that are kept in part. */
  readonly copies?: PinnedCopies;
}

/**
 * Moves those blocks of a span that are pinned from a file to the quarantine, where the change
 * defers: what is left of the span is idle, and stays so until the lift. All of them go at
 * once, also where the rest is freed in several transactions: an orphan whose recovery frees
 * blocks has none that is pinned. Gives how many it moved. The caller stores the inode.
 *
 * @throws DaxdError `quarantine-full`, ENOSPC, EBADMSG, EUCLEAN; the transaction is to be dropped
 */
export function leavePinned(
  txn: Transaction,
  volume: Volume,
  { inode, span, copies }: Leaving,
  layout: BrokenLayout,
): number {
  if (!layout.change.defers) return 0;
  const pinned = extentsWithin(treeOf(txn, volume, inode), span).flatMap((extent) =>
    pinnedParts(volume, extent, layout),
  );
  for (const gone of nearExtents(pinned)) takeOut(txn, volume, inode, gone);
  const runs = pinned.map(({ physical, length }) => ({ start: physical, count: length }));
  for (const { physical, length } of copies?.swap(txn, inode) ?? []) {
    runs.push(...leaveOne(txn, volume, { start: physical, count: length }, layout));
  }
  return quarantine(txn, volume, runs, layout);
}

/** Takes neighbouring parts of a file's extents out of it. */
function takeOut(txn: Transaction, volume: Volume, inode: Inode, gone: readonly Extent[]): void {
  const span = spanOf(gone);
  const extents = extentsWithin(treeOf(txn, volume, inode), span);
  spliceExtents(txn, volume, { inode, span }, subtractExtents(extents, gone));
}

/** Frees what of a run is idle by now, and gives the rest. */
function leaveOne(
  txn: Transaction,
  volume: Volume,
  run: BlockRun,
  layout: BrokenLayout,
): BlockRun[] {
  const pinned = layout.pinnedIn(pagesOf(volume, run)).map((pages) => blocksOf(volume, pages));
  let { start } = run;
  for (const end of [...pinned, { start: run.start + run.count, count: 0 }]) {
    const idle = { start, count: end.start - start };
    if (idle.count > 0) freeBlocks(txn, volume, idle, layout);
    start = end.start + end.count;
  }
  return pinned;
}

/** Gives blocks that no file has any more to the quarantine. */
function quarantine(
  txn: Transaction,
  volume: Volume,
  runs: readonly BlockRun[],
  layout: BrokenLayout,
): number {
  const blocks = countRuns(runs);
  if (blocks === 0) return 0;
  const { change } = layout;
  volume.quarantine.assertRoom(blocks, change.id);
  txn.requireIdle(layout);
  const inode = openQuarantine(txn, volume);
  const added = runs.map(({ start, count }) => {
    return { logical: start, physical: start, length: count, unwritten: true };
  });
  for (const group of nearExtents(joinExtents(added))) addTo(txn, volume, inode, group);
  inode.touch();
  inode.store(txn);
  txn.onStored(() => {
    volume.quarantine.add(change.id, blocks);
  });
  txn.onDurable(() => {
    const { id, op, path, inode: left } = change;
    const media = runs.map(({ start, count }) => ({
      mediaOffset: start * BLOCK_SIZE,
      length: count * BLOCK_SIZE,
    }));
    volume.quarantine.moved({ change: id, op, path, inode: left, runs: media });
  });
  return blocks;
}

/** Adds neighbouring blocks to the quarantine. @throws DaxdError EUCLEAN for what it has already */
function addTo(txn: Transaction, volume: Volume, inode: Inode, added: readonly Extent[]): void {
  const span = spanOf(added);
  const extents = extentsWithin(treeOf(txn, volume, inode), span);
  const joined = joinExtents([...extents, ...added]);
  for (const [i, { logical, length }] of joined.entries()) {
    if (logical + length <= (joined[i + 1]?.logical ?? Infinity)) continue;
    throw damaged(`blocks ${logical} to ${logical + length} are a file's and quarantined too`);
  }
  spliceExtents(txn, volume, { inode, span }, joined);
}
