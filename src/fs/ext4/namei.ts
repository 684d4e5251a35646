import { assert } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import { damaged } from '../damage.js';
import type { FreeLeave } from './allocator.js';
import { initDirectoryBlock, sealDirectoryBlock } from './directory-block.js';
import { Directory } from './directory.js';
import type { FoundEntry } from './directory.js';
import { appendBlock } from './append-block.js';
import { inheritAcls } from './inherit-acl.js';
import { inheritFlags } from './inherit-flags.js';
import { allocateInode, freeInode } from './inode-allocator.js';
import { refuseFlags } from './inode-flags.js';
import { releaseInodeBlocks } from './inode-release.js';
import type { Inode } from './inode.js';
import { InodeFlag, ModeType } from './layout.js';
import { addSubdirectory, dropSubdirectory, LINKS_MAX } from './link-count.js';
import { entryTypeOf, readNamedInode, resolve } from './named-inode.js';
import type { NamedEnd } from './named-inode.js';
import { addOrphan } from './orphans.js';
import type { PathEnd } from './path.js';
import { writeTarget } from './symlink.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** Type and permissions of a file that daxd makes. */
export const FILE_MODE = ModeType.File | 0o644;
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
  { end, mode }: { readonly end: NamedEnd; readonly mode: number },
  fill: (inode: Inode, parent: Inode) => void,
): number {
  refuseTaken(end);
  const name = nameOf(end);
  const directory = parentOf(end);
  const parent = directory.inode;
  refuseFlags(parent, InodeFlag.Immutable);
  const inode = allocateInode(txn, volume, { mode, parent: parent.number });
  inode.linksCount = 1;
  inheritGroup(volume, parent, inode);
  inheritFlags(parent, inode);
  fill(inode, parent);
  inheritAcls(txn, volume, parent, inode);
  directory.insert({ inode: inode.number, entryType: entryTypeOf(inode), name });
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
 * What the blocks of a file that lost its last name may be freed with in the same transaction;
 * undefined where somebody needs them still.
 */
export type LeaveOf = (inode: Inode) => FreeLeave | undefined;

/**
 * Adds another name for what is at `from`, a symlink itself included.
 *
 * @throws DaxdError EEXIST, ENOENT, ENOTDIR, EPERM for a directory and for what may not change,
 *   EMLINK past 65000 names, ENOSPC
 * @kernel ext4_link (fs/ext4/namei.c), vfs_link (fs/namei.c)
 */
export function linkName(
  txn: Transaction,
  volume: Volume,
  paths: { readonly from: readonly Buffer[]; readonly to: readonly Buffer[] },
): void {
  const from = resolve(txn, volume, paths.from, { follow: false });
  const number = inodeOf(from);
  const to = resolve(txn, volume, paths.to, { follow: false });
  refuseTaken(to);
  const name = nameOf(to);
  const directory = parentOf(to);
  refuseFlags(directory.inode, InodeFlag.Immutable);
  const inode = readNamedInode(txn, volume, number);
  refuseFlags(inode, InodeFlag.Immutable | InodeFlag.Append);
  if (inode.type === 'directory') {
    throw new DaxdError('EPERM', `${shown(from)} is a directory: it has one name`);
  }
  if (inode.linksCount >= LINKS_MAX) {
    throw new DaxdError('EMLINK', `inode ${number} has ${inode.linksCount} names, no more fit`);
  }
  inode.linksCount++;
  inode.touchStatus();
  directory.insert({ inode: number, entryType: entryTypeOf(inode), name });
  inode.store(txn);
  storeTouched(txn, directory.inode);
}

/**
 * Removes a name, and with its last name the inode; an empty directory too. Gives the inode
 * when it has no name now and stays, on the orphan list, for somebody needs it or its blocks
 * are more than one transaction frees.
 *
 * @throws DaxdError ENOENT, ENOTEMPTY, EBUSY for the root, EPERM
 * @kernel ext4_unlink, ext4_rmdir (fs/ext4/namei.c)
 */
export function removeName(
  txn: Transaction,
  volume: Volume,
  parts: readonly Buffer[],
  leaveOf: LeaveOf,
): Inode | undefined {
  const end = resolve(txn, volume, parts, { follow: false });
  const directory = parentOf(end);
  const victim = readNamedInode(txn, volume, inodeOf(end));
  refuseFlags(directory.inode, InodeFlag.Immutable | InodeFlag.Append);
  refuseFlags(victim, InodeFlag.Immutable | InodeFlag.Append);
  refuseNonEmpty(txn, volume, victim, shown(end));

  assert(end.entry !== undefined, 'a name that was found stays until it is removed');
  directory.remove(end.entry);
  if (victim.type === 'directory') dropSubdirectory(directory.inode);
  storeTouched(txn, directory.inode);
  return dropName(txn, volume, victim, leaveOf);
}

/** A name that moves. */
export interface Move {
  readonly from: readonly Buffer[];
  readonly to: readonly Buffer[];
  /** Refuses to move over anything. */
  readonly noReplace: boolean;
}

/**
 * Moves a name, over another one where there is one: a file over a file, a directory over an
 * empty directory. Two names of one file are left as they are, as POSIX has it. Gives what
 * lost its last name as {@link removeName} does.
 *
 * @throws DaxdError ENOENT, EISDIR, ENOTDIR, ENOTEMPTY, EINVAL into its own subtree, EBUSY for
 *   the root, EEXIST with `noReplace`, EMLINK, ENOSPC, EPERM
 * @kernel ext4_rename (fs/ext4/namei.c)
 */
export function renameName(
  txn: Transaction,
  volume: Volume,
  move: Move,
  leaveOf: LeaveOf,
): Inode | undefined {
  const from = resolve(txn, volume, move.from, { follow: false });
  const to = resolve(txn, volume, move.to, { follow: false });
  const { fromName, toName, number } = endsOfMove(from, to, move.noReplace);
  if (number === to.inode) return undefined;

  const oldDirectory = parentOf(from);
  const isSameParent = from.parents.at(-1) === to.parents.at(-1);
  // One object for one directory: two would each store an inode without the other's changes.
  const newDirectory = isSameParent ? oldDirectory : parentOf(to);
  const moved = readNamedInode(txn, volume, number);
  const replaced = to.inode === undefined ? undefined : readNamedInode(txn, volume, to.inode);
  checkMove(txn, volume, { from, to, moved, replaced });
  refuseFlags(oldDirectory.inode, InodeFlag.Immutable | InodeFlag.Append);
  refuseFlags(newDirectory.inode, flagsAgainst(replaced));

  const target = { inode: moved.number, entryType: entryTypeOf(moved) };
  if (replaced === undefined) newDirectory.insert({ ...target, name: toName });
  else newDirectory.retarget(findName(newDirectory, toName), target);
  // Looked up only now: the new name may stand right before the old one.
  oldDirectory.remove(findName(oldDirectory, fromName));

  if (replaced?.type === 'directory') dropSubdirectory(newDirectory.inode);
  if (moved.type === 'directory' && !isSameParent) {
    changeParent(txn, volume, moved, { from: oldDirectory.inode, to: newDirectory.inode });
  }
  moved.touchStatus();
  moved.store(txn);
  storeTouched(txn, oldDirectory.inode);
  if (!isSameParent) storeTouched(txn, newDirectory.inode);
  return replaced === undefined ? undefined : dropName(txn, volume, replaced, leaveOf);
}

/**
 * Both names of a move, and what is at the old one. That the root is no name to move to comes
 * before what is there.
 *
 * @kernel do_renameat2 (fs/namei.c)
 */
function endsOfMove(
  from: PathEnd,
  to: PathEnd,
  noReplace: boolean,
): { readonly fromName: Buffer; readonly toName: Buffer; readonly number: number } {
  const fromName = nameOf(from);
  if (noReplace && to.name === undefined) refuseTaken(to);
  const toName = nameOf(to);
  const number = inodeOf(from);
  if (noReplace) refuseTaken(to);
  return { fromName, toName, number };
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
    throw damaged(`directory inode ${moved.number} lies within itself`);
  }
  if (replaced !== undefined && from.parents.includes(replaced.number)) {
    throw new DaxdError('ENOTEMPTY', `${shown(to)} holds ${shown(from)}, which cannot replace it`);
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

/** A name may come to an append-only directory, but none may go. */
function flagsAgainst(replaced: Inode | undefined): number {
  return InodeFlag.Immutable | (replaced === undefined ? 0 : InodeFlag.Append);
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
    throw damaged(
      `directory inode ${moved.number}: ".." is inode ${directory.parent}, its parent is ${from.number}`,
    );
  }
  directory.setParent(to.number);
  dropSubdirectory(from);
  addSubdirectory(volume.superblock, to);
}

/**
 * Counts a name off. With the last one the inode goes, or where that cannot be yet, to the
 * orphan list, and is given.
 */
function dropName(
  txn: Transaction,
  volume: Volume,
  inode: Inode,
  leaveOf: LeaveOf,
): Inode | undefined {
  inode.linksCount = inode.type === 'directory' ? 0 : inode.linksCount - 1;
  inode.touchStatus();
  if (inode.linksCount > 0) {
    inode.store(txn);
    return undefined;
  }
  const leave = leaveOf(inode);
  if (leave !== undefined && releaseInodeBlocks(txn, volume, inode, leave)) {
    freeInode(txn, volume, inode);
    return undefined;
  }
  addOrphan(txn, volume, inode);
  inode.store(txn);
  txn.onStored(() => {
    volume.openFiles.nameGone(inode.number);
  });
  return inode;
}

/** The directory of the last name. */
function parentOf({ directory }: NamedEnd): Directory {
  if (directory !== undefined) return directory;
  throw rootGiven();
}

/**
 * A name that was found in the same transaction. A damaged index can lead to a leaf by two ways:
 * then what was put in since moved the name to where its own way does not lead.
 *
 * @throws DaxdError EUCLEAN where it is found no more
 */
function findName(directory: Directory, name: Buffer): FoundEntry {
  const found = directory.lookup(name);
  if (found !== undefined) return found;
  throw damaged(
    `directory inode ${directory.inode.number}: a name in it is lost once another is added`,
  );
}

function nameOf(end: PathEnd): Buffer {
  if (end.name !== undefined) return end.name;
  throw rootGiven();
}

function rootGiven(): DaxdError {
  return new DaxdError('EBUSY', 'the root directory is not made, moved or removed');
}

/** @throws DaxdError EEXIST */
function refuseTaken(end: PathEnd): void {
  if (end.inode === undefined) return;
  throw new DaxdError('EEXIST', `${shown(end)} is there already, as inode ${end.inode}`);
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

/** With groups as in BSD the bit says nothing, and is not handed down. @kernel inode_init_owner (fs/inode.c) */
function inheritGroup({ superblock }: Volume, parent: Inode, inode: Inode): void {
  const { hasBsdGroups } = superblock;
  if (!hasBsdGroups && (parent.mode & SETGID) === 0) return;
  inode.gid = parent.gid;
  if (!hasBsdGroups && inode.type === 'directory') inode.mode |= SETGID;
}

function storeTouched(txn: Transaction, directory: Inode): void {
  directory.touch();
  directory.store(txn);
}
