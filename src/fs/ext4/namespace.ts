import type { BrokenLayout } from '../../dax/broken-layout.js';
import { assert } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import { METADATA } from './allocator.js';
import type { FreeLeave } from './allocator.js';
import { initDirectoryBlock, sealDirectoryBlock } from './directory-block.js';
import { Directory } from './directory.js';
import type { FoundEntry } from './directory.js';
import { appendBlock } from './extent-tree.js';
import { allocateInode, freeInode } from './inode-allocator.js';
import { releaseInodeBlocks } from './inode-release.js';
import type { Inode } from './inode.js';
import { InodeFlag, ModeType } from './layout.js';
import { addSubdirectory, dropSubdirectory } from './link-count.js';
import { entryTypeOf, readNamedInode, resolve } from './named-inode.js';
import type { PathEnd } from './path.js';
import { writeTarget } from './symlink.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

const DIRECTORY_MODE = ModeType.Directory | 0o755;
const SYMLINK_MODE = ModeType.Symlink | 0o777;
const SETGID = 0o2000;

/**
 * Changes of names. Each runs within one transaction and looks up everything in it, so it
 * happens whole or not at all, on what is there now.
 */

/**
 * Adds a file, directory, symlink at a path whose last name is free.
 *
 * @param fill completes the new inode, which is stored after it; runs before the name is there
 * @throws DaxdError EEXIST, ENOENT, ENOTDIR, ENOSPC, EMLINK, EPERM
 */
export function addInode(
  txn: Transaction,
  volume: Volume,
  { end, mode }: { readonly end: PathEnd; readonly mode: number },
  fill: (inode: Inode, parent: Inode) => void,
): number {
  if (end.inode !== undefined) {
    throw new DaxdError('EEXIST', `${shown(end)} is there already, as inode ${end.inode}`);
  }
  const name = nameOf(end);
  const directory = openParent(txn, volume, end);
  const parent = directory.inode;
  refuseFlags(parent, InodeFlag.Immutable);
  const inode = allocateInode(txn, volume, { mode, parent: parent.number });
  inode.linksCount = 1;
  inheritGroup(parent, inode);
  fill(inode, parent);
  directory.insert(txn, { inode: inode.number, entryType: entryTypeOf(inode), name });
  inode.store(txn);
  storeTouched(txn, parent);
  return inode.number;
}

/** Adds an empty directory. @kernel ext4_mkdir (fs/ext4/namei.c) */
export function makeDirectory(txn: Transaction, volume: Volume, parts: readonly Buffer[]): number {
  const end = resolve(txn, volume, parts, { follow: false });
  return addInode(txn, volume, { end, mode: DIRECTORY_MODE }, (inode, parent) => {
    addSubdirectory(volume.superblock, parent);
    inode.linksCount = 2;
    const block = txn.fresh(appendBlock(txn, volume, inode));
    initDirectoryBlock(block, inode.number, parent.number);
    sealDirectoryBlock(block, inode.checksumSeed);
  });
}

/** Adds a symlink. */
export function makeSymlink(
  txn: Transaction,
  volume: Volume,
  parts: readonly Buffer[],
  target: Buffer,
): number {
  const end = resolve(txn, volume, parts, { follow: false });
  return addInode(txn, volume, { end, mode: SYMLINK_MODE }, (inode) => {
    writeTarget(txn, volume, inode, target);
  });
}

/**
 * Removes a name, and the inode with its last name; an empty directory too.
 *
 * @param leave what the data blocks of a regular file may be freed with
 * @throws DaxdError ENOENT, ENOTEMPTY, EBUSY for the root, EPERM
 * @kernel ext4_unlink, ext4_rmdir (fs/ext4/namei.c)
 */
export function removeName(
  txn: Transaction,
  volume: Volume,
  parts: readonly Buffer[],
  leave: BrokenLayout | undefined,
): void {
  const end = resolve(txn, volume, parts, { follow: false });
  const name = nameOf(end);
  const directory = openParent(txn, volume, end);
  const victim = readNamedInode(txn, volume, inodeOf(end));
  refuseFlags(directory.inode, InodeFlag.Immutable | InodeFlag.Append);
  refuseFlags(victim, InodeFlag.Immutable | InodeFlag.Append);
  refuseNonEmpty(txn, volume, victim, shown(end));

  directory.remove(txn, findName(directory, name));
  if (victim.type === 'directory') dropSubdirectory(directory.inode);
  dropName(txn, volume, victim, leave);
  storeTouched(txn, directory.inode);
}

/**
 * Moves a name, over another one where there is one: a file over a file, a directory over an
 * empty directory. Two names of one file are left as they are, as POSIX has it.
 *
 * @param leave what the data blocks of a replaced regular file may be freed with
 * @throws DaxdError ENOENT, EISDIR, ENOTDIR, ENOTEMPTY, EINVAL into its own subtree, EBUSY for
 *   the root, EMLINK, ENOSPC, EPERM
 * @kernel ext4_rename (fs/ext4/namei.c)
 */
export function renameName(
  txn: Transaction,
  volume: Volume,
  paths: { readonly from: readonly Buffer[]; readonly to: readonly Buffer[] },
  leave: BrokenLayout | undefined,
): void {
  const from = resolve(txn, volume, paths.from, { follow: false });
  const to = resolve(txn, volume, paths.to, { follow: false });
  const fromName = nameOf(from);
  const toName = nameOf(to);
  if (inodeOf(from) === to.inode) return;

  const oldDirectory = openParent(txn, volume, from);
  const isSameParent = from.parents.at(-1) === to.parents.at(-1);
  // One object for one directory: two would each store an inode without the other's changes.
  const newDirectory = isSameParent ? oldDirectory : openParent(txn, volume, to);
  const moved = readNamedInode(txn, volume, inodeOf(from));
  const replaced = to.inode === undefined ? undefined : readNamedInode(txn, volume, to.inode);
  checkMove(txn, volume, { from, to, moved, replaced });
  for (const { inode } of [oldDirectory, newDirectory]) {
    refuseFlags(inode, InodeFlag.Immutable | InodeFlag.Append);
  }

  const target = { inode: moved.number, entryType: entryTypeOf(moved) };
  if (replaced === undefined) newDirectory.insert(txn, { ...target, name: toName });
  else newDirectory.retarget(txn, findName(newDirectory, toName), target);
  // Looked up only now: the new name may stand right before the old one.
  oldDirectory.remove(txn, findName(oldDirectory, fromName));

  if (replaced?.type === 'directory') dropSubdirectory(newDirectory.inode);
  if (moved.type === 'directory' && !isSameParent) {
    changeParent(txn, volume, moved, { from: oldDirectory.inode, to: newDirectory.inode });
  }
  if (replaced !== undefined) dropName(txn, volume, replaced, leave);
  moved.touchStatus();
  moved.store(txn);
  storeTouched(txn, oldDirectory.inode);
  if (!isSameParent) storeTouched(txn, newDirectory.inode);
}

/** What may not be moved where, in the order in which Linux answers. */
function checkMove(
  txn: Transaction,
  volume: Volume,
  move: {
    readonly from: PathEnd;
    readonly to: PathEnd;
    readonly moved: Inode;
    readonly replaced: Inode | undefined;
  },
): void {
  const { from, to, moved, replaced } = move;
  if (to.parents.includes(moved.number)) {
    throw new DaxdError('EINVAL', `${shown(from)} cannot move into its own subtree`);
  }
  if (from.parents.includes(moved.number)) {
    throw new DaxdError(
      'EUCLEAN',
      `directory inode ${moved.number} lies within itself; run e2fsck`,
    );
  }
  refuseFlags(moved, InodeFlag.Immutable | InodeFlag.Append);
  if (replaced === undefined) return;
  refuseFlags(replaced, InodeFlag.Immutable | InodeFlag.Append);
  const isDirectory = moved.type === 'directory';
  if (isDirectory && replaced.type !== 'directory') {
    throw new DaxdError('ENOTDIR', `${shown(to)} is no directory, a directory cannot replace it`);
  }
  if (!isDirectory && replaced.type === 'directory') {
    throw new DaxdError('EISDIR', `${shown(to)} is a directory, a ${moved.type} cannot replace it`);
  }
  refuseNonEmpty(txn, volume, replaced, shown(to));
}

/** Points ".." of a directory at its new parent, and counts its link there. */
function changeParent(
  txn: Transaction,
  volume: Volume,
  moved: Inode,
  { from, to }: { readonly from: Inode; readonly to: Inode },
): void {
  const directory = new Directory(txn, volume, moved);
  if (directory.parent !== from.number) {
    throw new DaxdError(
      'EUCLEAN',
      `directory inode ${moved.number}: ".." is inode ${directory.parent}, its parent is ${from.number}; run e2fsck`,
    );
  }
  directory.setParent(txn, to.number);
  dropSubdirectory(from);
  addSubdirectory(volume.superblock, to);
}

/** Counts a name off; with the last one the inode goes. */
function dropName(
  txn: Transaction,
  volume: Volume,
  inode: Inode,
  leave: BrokenLayout | undefined,
): void {
  if (inode.type === 'directory') {
    evictInode(txn, volume, inode, METADATA);
    return;
  }
  inode.linksCount--;
  if (inode.linksCount > 0) {
    inode.touchStatus();
    inode.store(txn);
    return;
  }
  // Blocks of a symlink are metadata; those of a regular file may be lent.
  const isFile = inode.type === 'file';
  assert(!isFile || leave !== undefined, 'the last name of a file goes after its pages are idle');
  evictInode(txn, volume, inode, isFile && leave !== undefined ? leave : METADATA);
}

/** Frees an inode without a name, and all that it has. @kernel ext4_evict_inode (fs/ext4/inode.c) */
function evictInode(txn: Transaction, volume: Volume, inode: Inode, leave: FreeLeave): void {
  if (inode.type === 'file' && !inode.hasExtents) {
    throw new DaxdError('EOPNOTSUPP', `inode ${inode.number} maps its blocks without extents`);
  }
  releaseInodeBlocks(txn, volume, inode, leave);
  freeInode(txn, volume, inode);
}

function openParent(txn: Transaction, volume: Volume, end: PathEnd): Directory {
  const number = end.parents.at(-1);
  assert(number !== undefined, 'a name stands in a directory');
  return new Directory(txn, volume, readNamedInode(txn, volume, number));
}

function findName(directory: Directory, name: Buffer): FoundEntry {
  const found = directory.lookup(name);
  assert(found !== undefined, 'a name that was found stays until the transaction ends');
  return found;
}

function nameOf(end: PathEnd): Buffer {
  if (end.name !== undefined) return end.name;
  throw new DaxdError('EBUSY', 'the root directory is not made, moved or removed');
}

function inodeOf(end: PathEnd): number {
  if (end.inode !== undefined) return end.inode;
  throw new DaxdError('ENOENT', `there is no ${shown(end)}`);
}

function shown({ name }: PathEnd): string {
  return name === undefined ? 'the root directory' : JSON.stringify(name.toString());
}

function refuseNonEmpty(txn: Transaction, volume: Volume, inode: Inode, name: string): void {
  if (inode.type !== 'directory' || new Directory(txn, volume, inode).isEmpty) return;
  throw new DaxdError('ENOTEMPTY', `directory ${name} is not empty`);
}

/** @kernel IS_IMMUTABLE, IS_APPEND (linux/fs.h) */
function refuseFlags(inode: Inode, flags: number): void {
  if ((inode.flags & flags) === 0) return;
  throw new DaxdError('EPERM', `inode ${inode.number} is immutable or append-only (see lsattr)`);
}

/** @kernel inode_init_owner (fs/inode.c) */
function inheritGroup(parent: Inode, inode: Inode): void {
  if ((parent.mode & SETGID) === 0) return;
  inode.gid = parent.gid;
  if (inode.type === 'directory') inode.mode |= SETGID;
}

function storeTouched(txn: Transaction, directory: Inode): void {
  directory.touch();
  directory.store(txn);
}
