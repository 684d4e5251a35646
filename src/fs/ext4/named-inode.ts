import { DaxdError } from '../../lib/errno.js';
import { EntryType } from './directory-block.js';
import { Directory } from './directory.js';
import type { FoundEntry } from './directory.js';
import { isHidden, refuseHidden } from './hidden-name.js';
import { readInode } from './inode.js';
import type { Inode, InodeType } from './inode.js';
import { FeatureCompat, ROOT_INODE, SuperField } from './layout.js';
import { parsePath, walkPath } from './path.js';
import type { PathEnd, PathTree } from './path.js';
import { readTarget } from './symlink.js';
import type { BlockSource } from './transaction.js';
import type { Volume } from './volume.js';

const ENTRY_TYPES: Readonly<Record<InodeType, number>> = {
  file: EntryType.Regular,
  directory: EntryType.Directory,
  symlink: EntryType.Symlink,
  char: EntryType.Char,
  block: EntryType.Block,
  fifo: EntryType.Fifo,
  socket: EntryType.Socket,
};

/** The look-up of the last name of a path. */
interface Lookup {
  /** Where it was looked up, as the source showed it; undefined where there is no last name. */
  readonly directory: Directory | undefined;
  /** What was found there; it stands there until the directory is changed. */
  readonly entry: FoundEntry | undefined;
}

const NO_LOOKUP: Lookup = { directory: undefined, entry: undefined };

/** Where a path leads in the tree of names that a source shows. */
export interface NamedEnd extends PathEnd, Lookup {}

/** What a directory entry for an inode says about its type. */
export function entryTypeOf(inode: Inode): number {
  return ENTRY_TYPES[inode.type];
}

/** The type that an entry claims; undefined where it says nothing, or nothing known. */
export function typeOfEntry(entryType: number): InodeType | undefined {
  const types: readonly (InodeType | undefined)[] = [
    undefined,
    'file',
    'directory',
    'char',
    'block',
    'fifo',
    'socket',
    'symlink',
  ];
  return types[entryType];
}

/**
 * Reads an inode that a name leads to.
 *
 * @throws DaxdError ENOENT when it has no name any more, whoever has it open, and what
 *   {@link readFileInode} throws
 */
export function readNamedInode(source: BlockSource, volume: Volume, number: number): Inode {
  const inode = readFileInode(source, volume, number);
  if (inode.linksCount > 0) return inode;
  throw new DaxdError('ENOENT', `inode ${number} has no name (any more)`);
}

/**
 * Reads an inode that has a name, or had one when somebody learnt its number: the root, or
 * one past the reserved ones. The journal and its like are never reached this way, whatever a
 * directory on damaged media says.
 *
 * @throws DaxdError EUCLEAN for an inode that belongs to the filesystem, ENOENT when it is
 *   free by now, and what {@link readInode} throws
 */
export function readFileInode(source: BlockSource, volume: Volume, number: number): Inode {
  if (isOwnInode(volume, number)) {
    throw new DaxdError('EUCLEAN', `inode ${number} belongs to the filesystem, no file has it`);
  }
  return readInode(source, volume, number);
}

/** Whether an inode belongs to the filesystem itself: no name leads to it. */
export function isOwnInode({ superblock, quarantine }: Volume, number: number): boolean {
  const { firstInode, compat, bytes } = superblock;
  if (number < firstInode) return number !== ROOT_INODE;
  if (number === quarantine.inode) return true;
  const hasOrphanFile = (compat & FeatureCompat.OrphanFile) !== 0;
  return hasOrphanFile && number === bytes.readUInt32LE(SuperField.OrphanFileInode);
}

/**
 * Follows a path as {@link walkPath} does, in the tree that `source` shows, to where something
 * is made, moved or removed.
 *
 * @throws DaxdError EPERM at the end of a path to daxd's own file, and what {@link walkPath} throws
 */
export function resolve(
  source: BlockSource,
  volume: Volume,
  parts: readonly Buffer[],
  options: { readonly follow: boolean },
): NamedEnd {
  const inodes = new NamedInodes(source, volume);
  const end = walkPath(inodes, parts, options);
  refuseHidden(volume, end);
  const { parents, name, inode } = end;
  // Without a last name the walk ended in "." or "..": what it looked up before is not its end.
  const { directory, entry } = name === undefined ? NO_LOOKUP : inodes.lastLookup;
  return { parents, name, inode, directory, entry };
}

/**
 * The inode at a path from the root; `''` is the root.
 *
 * @throws DaxdError ENOENT, and what {@link parsePath} and {@link walkPath} throw
 */
export function inodeAt(
  volume: Volume,
  path: string,
  { follow }: { readonly follow: boolean },
): Inode {
  const known = follow ? volume.paths.get(path) : undefined;
  if (known !== undefined) return readNamedInode(volume, volume, known);
  const inodes = new NamedInodes(volume, volume);
  const { inode } = walkPath(inodes, parsePath(path), { follow });
  if (inode === undefined) throw new DaxdError('ENOENT', `there is no ${JSON.stringify(path)}`);
  if (follow) volume.paths.set(path, inode);
  return inodes.read(inode);
}

/** The tree of names that a source shows, good for one walk: it keeps what it read last. */
class NamedInodes implements PathTree {
  readonly root = ROOT_INODE;
  readonly #source: BlockSource;
  readonly #volume: Volume;
  #last: Inode | undefined;
  #lastLookup = NO_LOOKUP;

  constructor(source: BlockSource, volume: Volume) {
    this.#source = source;
    this.#volume = volume;
  }

  read(number: number): Inode {
    if (this.#last?.number === number) return this.#last;
    this.#last = readNamedInode(this.#source, this.#volume, number);
    return this.#last;
  }

  /** Of the last name that a directory was asked for. */
  get lastLookup(): Lookup {
    return this.#lastLookup;
  }

  kind(number: number): 'directory' | 'symlink' | 'other' {
    const { type } = this.read(number);
    return type === 'directory' || type === 'symlink' ? type : 'other';
  }

  child(directory: number, name: Buffer): number | undefined {
    if (isHidden(this.#volume, directory, name)) return undefined;
    const within = new Directory(this.#source, this.#volume, this.read(directory));
    const entry = within.lookup(name);
    this.#lastLookup = { directory: within, entry };
    return entry?.inode;
  }

  target(symlink: number): Buffer {
    return readTarget(this.#source, this.#volume, this.read(symlink));
  }
}
