import type { BrokenLayout } from '../../dax/broken-layout.js';
import type {
  Revoke,
  LayoutChangeRequest,
  PendingChange,
  ResumedChange,
} from '../../dax/layout-change.js';
import type { PfnRun } from '../../mm/gup.js';
import { pagesOf } from './block-pages.js';
import { blocksAround } from './byte-span.js';
import { extentsWithin, treeOf } from './extent-tree.js';
import { readAnyInode } from './inode.js';
import type { Volume } from './volume.js';

/** What a caller may give along with a change of a file. */
export interface Change {
  /** Aborted: a wait for pinned pages is given up, and the file is as it was. */
  readonly signal?: AbortSignal | undefined;
  /** For people who look at what waits, like `deadlineMs`. */
  readonly path?: string | undefined;
  /** When `signal` gives a wait up, in milliseconds from now; 0: at once. */
  readonly deadlineMs?: number | undefined;
  /** Told when the change begins to wait for pinned pages; again where it begins anew. */
  readonly onWait?: ((change: PendingChange) => void) | undefined;
  /**
   * Waits for no pinned page: blocks that are pinned when they would be freed or zeroed leave
   * the file for the quarantine, with what their holders see in them.
   */
  readonly defer?: boolean | undefined;
  /** Takes the leases of those blocks from their holders first: see `LayoutChangeRequest.revoke`. */
  readonly revoke?: Revoke | undefined;
  /**
   * Awaited once the wait is over, right before the file changes; where it throws, the file is as
   * it was. A change that does not happen after all, for what the file is by then, has called it too.
   */
  readonly onBegin?: (() => Promise<void>) | undefined;
  /** Where it is one that an earlier daemon began to wait with: see `LayoutChangeRequest.resumed`. */
  readonly resumed?: ResumedChange | undefined;
}

/** How a change that may wait went. */
export interface ChangeResult {
  /** How long pinned pages, or an earlier change, were waited for. */
  readonly waitedMs: number;
  /** Data that was freed, in whole blocks. */
  readonly freedBytes: number;
  /** Data that went into the quarantine instead, for its pages are pinned; in whole blocks. */
  readonly quarantinedBytes: number;
}

/** A layout change of a file; which pages it means, the extents say. */
export type FileLayoutChange = Omit<LayoutChangeRequest, 'pages'>;

/**
 * Waits until no page behind the bytes [from, to) of a file is pinned, and keeps new pins out
 * until the caller lifts what it gets. Hold no transaction and no inode gate across it, and
 * read everything anew afterwards.
 *
 * @throws DaxdError as `Layouts.breakLayouts` does, EBADMSG and EUCLEAN for a damaged file
 */
async function breakFileLayouts(volume: Volume, change: FileLayoutChange): Promise<BrokenLayout> {
  return await volume.layouts.breakLayouts({
    ...change,
    pages: () => filePages(volume, change),
  });
}

/**
 * {@link breakFileLayouts} where that takes no wait; undefined where a page is pinned, or
 * another change comes first.
 */
export function tryBreakFileLayouts(
  volume: Volume,
  change: FileLayoutChange,
): BrokenLayout | undefined {
  return volume.layouts.tryBreakLayouts({ ...change, pages: () => filePages(volume, change) });
}

/**
 * Runs `run` with the layout of a file broken and nothing else at work on the file's blocks,
 * and lifts the barrier in every case. Nothing read before still holds in `run`. What went
 * into the quarantine has been told of when it settles.
 *
 * @throws DaxdError as {@link breakFileLayouts} does, EEXIST and what else keeps a change that
 *   defers from doing so, and what `run` throws
 */
export async function changeLayout<T>(
  volume: Volume,
  change: FileLayoutChange,
  run: (layout: BrokenLayout) => Promise<T>,
): Promise<T> {
  if (change.defer === true) volume.quarantine.assertAvailable();
  const layout = await breakFileLayouts(volume, change);
  try {
    const result = await volume.withInode(change.inode, async () => await run(layout));
    if (change.defer === true) await volume.quarantine.told();
    return result;
  } finally {
    layout.lift();
  }
}

/**
 * The pages behind the bytes of a change, as the media have the file now; none once it is gone.
 * A file without a name has its pages until they are freed.
 */
function filePages(volume: Volume, { inode: number, from, to }: FileLayoutChange): PfnRun[] {
  const span = blocksAround({ from, to });
  const inode = readAnyInode(volume, volume, number);
  // A short symlink or a device has no pages.
  if (inode.mode === 0 || !inode.hasBlocks) return [];
  const extents = extentsWithin(treeOf(volume, volume, inode), span);
  return extents.map(({ physical, length }) => pagesOf(volume, { start: physical, count: length }));
}
