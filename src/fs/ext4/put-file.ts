import { assert } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import { goalOf } from './extent-tree.js';
import type { Change } from './layout-break.js';
import { readNamedInode, resolve } from './named-inode.js';
import type { NamedEnd } from './named-inode.js';
import { addInode, FILE_MODE } from './namei.js';
import { parsePath } from './path.js';
import { readWritable } from './regular-file.js';
import { replaceData } from './replace-data.js';
import { stageContent } from './staged-content.js';
import type { StagedContent } from './staged-content.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** What {@link putFile} did. */
export interface PutResult {
  readonly created: boolean;
  readonly inode: number;
}

/** How a file is put. */
export interface PutChange extends Change {
  /** Only where nothing is there yet; a symlink is something, wherever it points. */
  readonly exclusive?: boolean | undefined;
}

/**
 * Makes a stream of bytes the whole content of the file at a path, all of it or nothing: it
 * goes to new blocks first. A file that is there keeps its inode, and is swapped when none of
 * its pages is pinned; where there is none, the file appears with its content. Symlinks are
 * followed, a dangling one to where it points.
 *
 * @throws DaxdError EISDIR, EINVAL, ENOENT, ENOTDIR, ENOSPC, EFBIG, EROFS, EPERM, EIO,
 *   EEXIST with `exclusive`, `cancelled`, `draining`, and what the source throws
 */
export async function putFile(
  volume: Volume,
  path: string,
  source: AsyncIterable<Uint8Array>,
  { exclusive = false, ...change }: PutChange,
): Promise<PutResult> {
  const parts = parsePath(path);
  const target = (tree: BlockSource): NamedEnd => {
    const end = resolve(tree, volume, parts, { follow: !exclusive });
    if (!exclusive || end.inode === undefined) return end;
    throw new DaxdError('EEXIST', `${JSON.stringify(path)} is there, as inode ${end.inode}`);
  };
  volume.assertWritable();
  // What cannot work is refused before the bytes are taken in; all of it is looked at again.
  const goal = goalFor(volume, target(volume));
  const staged = await stageContent(volume, source, { goal, signal: change.signal });
  try {
    // Another round is owed to somebody who made the name meanwhile.
    for (;;) {
      const { inode } = target(volume);
      if (inode !== undefined) {
        await replaceData(volume, inode, staged, { path, ...change });
        return { created: false, inode };
      }
      const made = await volume.transact((txn) => addStaged(txn, volume, target(txn), staged));
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
  end: NamedEnd,
  staged: StagedContent,
): number | undefined {
  if (end.inode !== undefined) return undefined;
  return addInode(txn, volume, { end, mode: FILE_MODE }, (inode) => {
    staged.install(txn, inode);
  });
}

/** A block to be near to: what the file has now, or the group of its directory. */
function goalFor(volume: Volume, { parents, inode }: NamedEnd): number {
  if (inode !== undefined) return goalOf(volume, readWritable(volume, volume, inode));
  const parent = parents.at(-1);
  assert(parent !== undefined, 'a name stands in a directory');
  return goalOf(volume, readNamedInode(volume, volume, parent));
}
