import { DaxdError } from '../../lib/errno.js';
import { isDotName, NAME_BYTES_MAX } from './directory-block.js';

/** Bytes of the longest path, without the NUL that the kernel counts. @kernel PATH_MAX (linux/limits.h) */
const PATH_BYTES_MAX = 4095;
/** Symlinks that one resolution follows at most. @kernel MAXSYMLINKS (linux/namei.h) */
const SYMLINKS_MAX = 40;
/**
 * Names that one resolution takes at most: twice what the longest path has. Forty targets could have
 * 80,000, each of which is looked up while all others wait.
 */
const PARTS_MAX = 4096;

const SLASH = 0x2f;
const DOT = Buffer.from('.');

/** What a path walk asks of the filesystem. */
export interface PathTree {
  readonly root: number;
  /** Type of an inode: what matters on the way is whether names go on below it. */
  kind(inode: number): 'directory' | 'symlink' | 'other';
  /** The inode that `name` has in a directory, or undefined. */
  child(directory: number, name: Buffer): number | undefined;
  /** Target bytes of a symlink. */
  target(symlink: number): Buffer;
}

/** Where a path leads. */
export interface PathEnd {
  /** Directories from the root to the one that holds (or would hold) the last name. */
  readonly parents: readonly number[];
  /** The last name; undefined when the path ends in the root, or in "." or ".." of a symlink. */
  readonly name: Buffer | undefined;
  /** The inode there; undefined when only the last name is missing. */
  readonly inode: number | undefined;
}

/** Where a walk stands: the directories on the way to it are the walk's own. */
type Standing = Omit<PathEnd, 'parents'>;

/**
 * Splits a path from the partition's root; `''` is the root itself.
 *
 * @throws DaxdError EINVAL for ".", "..", an empty part, NUL and text that is not Unicode;
 *   ENAMETOOLONG for a part over 255 bytes or a path over 4095
 */
export function parsePath(path: string): Buffer[] {
  if (path === '') return [];
  if (!path.isWellFormed()) {
    throw new DaxdError('EINVAL', `path ${JSON.stringify(path)} has half a surrogate pair`);
  }
  const bytes = Buffer.from(path);
  checkPathLength(bytes);
  return splitBytes(bytes).map((part) => {
    if (part.length === 0 || isDotName(part) || part.includes(0)) {
      throw new DaxdError(
        'EINVAL',
        `path ${JSON.stringify(path)} has an empty part, ".", ".." or NUL: give names from the root, separated by one "/"`,
      );
    }
    checkNameLength(part);
    return part;
  });
}

/**
 * Follows `parts` from the root. Symlinks on the way are followed, the last one where
 * `follow` says so; an absolute target starts at the partition's root and ".." stops there.
 * The walk is bounded: by 40 symlinks, as the kernel's, and by 4096 names.
 *
 * @throws DaxdError ENOENT for a name missing before the last, ENOTDIR, ELOOP, ENAMETOOLONG
 */
export function walkPath(
  tree: PathTree,
  parts: readonly Buffer[],
  { follow }: { readonly follow: boolean },
): PathEnd {
  // Reversed, so that the next part is popped and a target is pushed in front of the rest.
  const pending = parts.toReversed();
  const directories = [tree.root];
  let end: Standing = { name: undefined, inode: tree.root };
  let symlinks = 0;
  let taken = 0;

  for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
    taken++;
    checkPartsTaken(taken);
    enter(tree, directories, end);
    if (isDotName(part)) {
      if (part.length === 2 && directories.length > 1) directories.pop();
      end = { name: undefined, inode: directories.at(-1) };
      continue;
    }
    end = step(tree, directories, part);
    const { inode } = end;
    const isLast = pending.length === 0;
    if (inode === undefined || (isLast && !follow) || tree.kind(inode) !== 'symlink') continue;

    symlinks++;
    if (symlinks > SYMLINKS_MAX) {
      throw new DaxdError('ELOOP', `over ${SYMLINKS_MAX} symlinks, the last is inode ${inode}`);
    }
    const target = tree.target(inode);
    if (target[0] === SLASH) directories.splice(1);
    pending.push(...targetParts(target).toReversed());
    end = { name: undefined, inode: directories.at(-1) };
  }
  // The last name is not gone into; without one the walk stands in the last directory itself.
  return { ...end, parents: end.name === undefined ? directories.slice(0, -1) : directories };
}

/** Goes into what the last part led to, unless the walk already stands there. */
function enter(tree: PathTree, directories: number[], { name, inode }: Standing): void {
  if (name === undefined) return;
  const shown = JSON.stringify(name.toString());
  if (inode === undefined) throw new DaxdError('ENOENT', `there is no ${shown} on the path`);
  if (tree.kind(inode) !== 'directory') {
    throw new DaxdError('ENOTDIR', `${shown} on the path is not a directory`);
  }
  directories.push(inode);
}

function step(tree: PathTree, directories: readonly number[], name: Buffer): Standing {
  const directory = directories.at(-1) ?? tree.root;
  return { name, inode: tree.child(directory, name) };
}

/** The parts of a symlink's target; what "." and an empty part add is that a directory is meant. */
function targetParts(target: Buffer): Buffer[] {
  checkPathLength(target);
  return splitBytes(target).map((part) => {
    checkNameLength(part);
    return part.length === 0 ? DOT : part;
  });
}

function splitBytes(path: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  let start = 0;
  for (let end = path.indexOf(SLASH); end >= 0; end = path.indexOf(SLASH, start)) {
    parts.push(path.subarray(start, end));
    start = end + 1;
  }
  parts.push(path.subarray(start));
  return parts;
}

function checkPartsTaken(taken: number): void {
  if (taken > PARTS_MAX) {
    throw new DaxdError('ELOOP', `over ${PARTS_MAX} names on the way, through symlinks`);
  }
}

function checkPathLength(path: Buffer): void {
  if (path.length > PATH_BYTES_MAX) {
    throw new DaxdError('ENAMETOOLONG', `a path of ${path.length} bytes, over ${PATH_BYTES_MAX}`);
  }
}

function checkNameLength(name: Buffer): void {
  if (name.length > NAME_BYTES_MAX) {
    throw new DaxdError('ENAMETOOLONG', `a name of ${name.length} bytes, over ${NAME_BYTES_MAX}`);
  }
}
