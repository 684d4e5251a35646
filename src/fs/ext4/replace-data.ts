import type { BrokenLayout } from '../../dax/broken-layout.js';
import { groupParts } from '../block-run.js';
import { evictOrphan } from './evict-orphan.js';
import { spliceExtents } from './extent-splice.js';
import { mapExtents, treeOf, WHOLE_FILE } from './extent-tree.js';
import { countBlocks } from './extent.js';
import type { Extent } from './extent.js';
import { freeSpan } from './free-span.js';
import { allocateInode } from './inode-allocator.js';
import type { Inode } from './inode.js';
import { changeLayout } from './layout-break.js';
import type { Change, ChangeResult } from './layout-break.js';
import { BLOCK_SIZE, EXTENT_BLOCK_MAX, ModeType } from './layout.js';
import { leavePinned } from './leave-pinned.js';
import { addOrphan } from './orphans.js';
import { readWritable, rereadWritable } from './regular-file.js';
import type { StagedContent } from './staged-content.js';
import { touchContent } from './touch-content.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** Blocks of a transaction left to what changes beside bitmaps and tree. */
const OTHER_BLOCKS = 64;

/**
 * Gives a file new content, all or nothing: waits until none of its pages is pinned, then one
 * transaction swaps the old blocks for the staged ones. The inode stays. Whatever happens,
 * the staged content is used up. With `defer` it waits for no page: in the same transaction,
 * pinned blocks go into the quarantine.
 *
 * Where freeing the old blocks takes more than that transaction, they go to an inode without
 * a name on the orphan list, and are freed in further ones.
 *
 * @throws DaxdError EISDIR, EINVAL, EROFS, EPERM, ENOENT, EIO, `cancelled`, `draining`; EFBIG
 *   for content in more pieces than one transaction can name
 */
export async function replaceData(
  volume: Volume,
  number: number,
  staged: StagedContent,
  change: Change = {},
): Promise<ChangeResult> {
  try {
    const before = readWritable(volume, volume, number);
    const request = { ...change, op: 'replace', inode: number, from: 0, to: Infinity } as const;
    return await changeLayout(volume, request, async (layout) => {
      const { freed, quarantined, orphan } = await volume.transact((txn) => {
        const inode = rereadWritable(txn, volume, before);
        const swapped = swap(txn, volume, { inode, staged }, layout);
        touchContent(txn, volume, inode);
        inode.store(txn);
        return swapped;
      });
      if (orphan !== undefined) await evictOrphan(volume, orphan, layout);
      return {
        waitedMs: layout.waitedMs,
        freedBytes: freed * BLOCK_SIZE,
        quarantinedBytes: quarantined * BLOCK_SIZE,
      };
    });
  } finally {
    staged.release();
  }
}

/** Blocks that were freed, or are to be, and the inode that has them until then. */
interface Swapped {
  readonly freed: number;
  readonly quarantined: number;
  readonly orphan: number | undefined;
}

function swap(
  txn: Transaction,
  volume: Volume,
  { inode, staged }: { readonly inode: Inode; readonly staged: StagedContent },
  layout: BrokenLayout,
): Swapped {
  const quarantined = leavePinned(txn, volume, { inode, span: WHOLE_FILE }, layout);
  const old = mapExtents(treeOf(txn, volume, inode));
  const changes = txn.changes.size + changesFor(volume, old) + changesFor(volume, staged.extents);
  let orphan: number | undefined;
  if (changes <= volume.transactionBlocksMax - OTHER_BLOCKS) {
    freeSpan(txn, volume, { inode, span: WHOLE_FILE, spare: -Infinity }, layout);
  } else {
    txn.requireIdle(layout);
    orphan = orphanFor(txn, volume, inode, old);
  }
  staged.install(txn, inode);
  return { freed: countBlocks(old), quarantined, orphan };
}

/** Makes a nameless inode that has these extents, which the caller takes from another. */
function orphanFor(
  txn: Transaction,
  volume: Volume,
  { number: parent }: Inode,
  extents: readonly Extent[],
): number {
  const orphan = allocateInode(txn, volume, { mode: ModeType.File, parent });
  spliceExtents(txn, volume, { inode: orphan, span: WHOLE_FILE }, extents);
  const last = extents.at(-1);
  orphan.size = last === undefined ? 0 : (last.logical + last.length) * BLOCK_SIZE;
  addOrphan(txn, volume, orphan);
  orphan.store(txn);
  return orphan.number;
}

/** How many blocks change, at most, where extents are freed or named. */
function changesFor(volume: Volume, extents: readonly Extent[]): number {
  const groups = new Set<number>();
  for (const { physical, length } of extents) {
    const parts = groupParts(volume.superblock, { start: physical, count: length });
    for (const { group } of parts) groups.add(group);
  }
  // A bitmap and a block of descriptors each, and the leaves, half full.
  return 2 * groups.size + Math.ceil((2 * extents.length) / EXTENT_BLOCK_MAX);
}
