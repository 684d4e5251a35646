import { mapExtents } from './extent-tree.js';
import { countBlocks } from './extent.js';
import { freeBlocks } from './allocator.js';
import type { ChangeResult } from './file-truncate.js';
import { changeLayout } from './layout-break.js';
import type { Change } from './layout-break.js';
import { BLOCK_SIZE } from './layout.js';
import { readWritable, rereadWritable } from './regular-file.js';
import type { StagedContent } from './staged-content.js';
import type { Volume } from './volume.js';

/**
 * Gives a file new content, all or nothing: waits until none of its pages is pinned, then one
 * transaction swaps the old blocks for the staged ones. The inode stays. Whatever happens,
 * the staged content is used up.
 *
 * @throws DaxdError EISDIR, EINVAL, EROFS, EPERM, ENOENT, EIO, `cancelled`, `draining`
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
      const freed = await volume.transact((txn) => {
        const inode = rereadWritable(txn, volume, before);
        const old = mapExtents(txn, volume, inode);
        for (const { physical, length } of old) {
          freeBlocks(txn, volume, { start: physical, count: length }, layout);
        }
        staged.install(txn, inode);
        inode.touch();
        inode.store(txn);
        return countBlocks(old);
      });
      return { waitedMs: layout.waitedMs, freedBytes: freed * BLOCK_SIZE };
    });
  } finally {
    staged.release();
  }
}
