import type { HoleFill } from './hole-fill.js';
import type { Inode } from './inode.js';
import { rereadWritable } from './regular-file.js';
import { touchContent } from './touch-content.js';
import type { Volume } from './volume.js';

/** How a file takes over what was filled. */
export interface FillCommit {
  /** Runs before: what the blocks have to hold when the file names them is durable then. */
  readonly prepare: () => Promise<void>;
  /** What the file has in bytes afterwards, at least. */
  readonly sizeMin: number;
}

/**
 * Has a file name the blocks of a fill, in one transaction, within its gate; it counts as
 * modified. What did not become the file's is given back. Flags that were set meanwhile change
 * nothing: whoever may not write was refused before.
 *
 * @throws DaxdError ENOENT when the file was removed meanwhile, EFBIG, EROFS, EBADMSG, EUCLEAN,
 *   EIO, and what `prepare` throws
 */
export async function nameFill(
  volume: Volume,
  before: Inode,
  fill: HoleFill,
  { prepare, sizeMin }: FillCommit,
): Promise<void> {
  try {
    await prepare();
    await volume.transact((txn) => {
      const inode = rereadWritable(txn, volume, before, { append: true });
      fill.name(txn, inode);
      inode.size = Math.max(inode.size, sizeMin);
      touchContent(txn, volume, inode);
      inode.store(txn);
    });
  } finally {
    fill.release();
  }
}
