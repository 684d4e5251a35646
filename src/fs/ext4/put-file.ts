import { assert } from '../../lib/assert.js';
import { goalOf } from './extent-tree.js';
import type { Change } from './layout-break.js';
import { ModeType } from './layout.js';
import { readNamedInode, resolve } from './named-inode.js';
import { addInode } from './namespace.js';
import { parsePath } from './path.js';
import type { PathEnd } from './path.js';
import { readWritable } from './regular-file.js';
import { replaceData } from './replace-data.js';
import { stageContent } from './staged-content.js';
import type { StagedContent } from './staged-content.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** Type and permissions of a file that daxd makes. */
export const FILE_MODE = ModeType.File | 0o644;

/** What {@link putFile} did. */
export interface PutResult {
  readonly created: boolean;
  readonly inode: number;
}

/**
 * Makes a stream of bytes the whole content of the file at a path, all of it or nothing: it
 * goes to new blocks first. A file that is there keeps its inode, and is swapped when none of
 * its pages is pinned; where there is none, the file appears with its content. Symlinks are
 * followed, a dangling one to where it points.
 *
 * @throws DaxdError EISDIR, EINVAL, ENOENT, ENOTDIR, ENOSPC, EFBIG, EROFS, EPERM, EIO,
 *   `cancelled`, `draining`, and what the source throws
 */
export async function putFile(
  volume: Volume,
  path: string,
  source: AsyncIterable<Uint8Array>,
  change: Change,
): Promise<PutResult> {
  const parts = parsePath(path);
  volume.assertWritable();
  // What cannot work is refused before the bytes are taken in; all of it is looked at again.
  const goal = goalFor(volume, resolve(volume, volume, parts, { follow: true }));
  const staged = await stageContent(volume, source, { goal, signal: change.signal });
  try {
    // Another round is owed to somebody who made the name meanwhile.
    for (;;) {
      const { inode } = resolve(volume, volume, parts, { follow: true });
      if (inode !== undefined) {
        await replaceData(volume, inode, staged, { path, ...change });
        return { created: false, inode };
      }
      const made = await volume.transact((txn) => addStaged(txn, volume, parts, staged));
      if (made !== undefined) return { created: true, inode: made };
    }
  } finally {
    staged.release();
  }
}

/** Adds a file with the content; undefined when the name is there by now. */
function addStaged(
  txn: Transaction,
  volume: Volume,
  parts: readonly Buffer[],
  staged: StagedContent,
): number | undefined {
  const end = resolve(txn, volume, parts, { follow: true });
  if (end.inode !== undefined) return undefined;
  return addInode(txn, volume, { end, mode: FILE_MODE }, (inode) => {
    staged.install(txn, inode);
  });
}

/** A block to be near to: what the file has now, or the group of its directory. */
function goalFor(volume: Volume, { parents, inode }: PathEnd): number {
  if (inode !== undefined) return goalOf(volume, readWritable(volume, volume, inode));
  const parent = parents.at(-1);
  assert(parent !== undefined, 'a name stands in a directory');
  return goalOf(volume, readNamedInode(volume, volume, parent));
}
