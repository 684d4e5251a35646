import { DaxdError } from '../../lib/errno.js';
import { Directory } from './directory.js';
import type { DirectoryPiece } from './directory.js';
import { isHidden } from './hidden-name.js';
import type { InodeType } from './inode.js';
import { readNamedInode, typeOfEntry } from './named-inode.js';
import type { Volume } from './volume.js';

/** An entry of a listing. */
export interface ListedEntry {
  /** The bytes of the name, which need not be UTF-8. */
  readonly name: Buffer;
  readonly type: InodeType;
  readonly inode: number;
}

/**
 * Lists a directory without "." and "..": in the order on the media, or of the hashes where
 * it has an index. One block is read at a time, and the directory anew for each, so the
 * reader may wait in between: what stays there meanwhile is listed once, and when the
 * directory is removed the listing ends.
 *
 * @throws DaxdError ENOTDIR at once; EBADMSG and EUCLEAN when a damaged block is reached
 */
export function listDirectory(volume: Volume, number: number): Iterable<ListedEntry> {
  return listPieces(volume, openDirectory(volume, number));
}

function* listPieces(volume: Volume, { inode }: Directory): Generator<ListedEntry> {
  const { number, generation } = inode;
  // No block comes twice in a sane directory, so the listing ends on any media.
  const visited = new Set<number>();
  let isIndexed = false;
  for (let cursor: number | undefined = 0; cursor !== undefined;) {
    const directory = reopen(volume, number, generation);
    if (directory === undefined) return;
    // All names of a linear directory that became indexed stood in the one block it had.
    if (cursor > 0 && directory.isIndexed !== isIndexed) return;
    isIndexed = directory.isIndexed;
    const { entries, next }: DirectoryPiece = directory.entriesFrom(cursor, visited);
    for (const entry of entries) {
      if (isHidden(volume, number, entry.name)) continue;
      const type = typeOfEntry(entry.entryType) ?? readNamedInode(volume, volume, entry.inode).type;
      yield { name: entry.name, type, inode: entry.inode };
    }
    cursor = next;
  }
}

function openDirectory(volume: Volume, number: number): Directory {
  return new Directory(volume, volume, readNamedInode(volume, volume, number));
}

/** The same directory after a wait; undefined when it is gone. */
function reopen(volume: Volume, number: number, generation: number): Directory | undefined {
  try {
    const directory = openDirectory(volume, number);
    return directory.inode.generation === generation ? directory : undefined;
  } catch (error) {
    const isGone =
      error instanceof DaxdError && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
    if (isGone) return undefined;
    throw error;
  }
}
