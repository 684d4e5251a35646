import type { InodeType } from '../../../src/fs/ext4/inode.js';

/** A stretch of a file that has blocks, in bytes. */
export interface SnapshotExtent {
  readonly from: number;
  readonly to: number;
  readonly unwritten: boolean;
}

/** What is known of one name of a tree. */
export interface SnapshotEntry {
  readonly path: string;
  readonly type: InodeType;
  readonly inode: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  /** st_blocks: data, extent tree and attributes, of 512 bytes. */
  readonly sectors: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Of a symlink, as latin1. */
  readonly target?: string;
  /** Of a device node. */
  readonly device?: readonly [major: number, minor: number];
  /** Name to value in hex, sorted. */
  readonly xattrs: readonly (readonly [name: string, value: string])[];
  /** Block of the attributes, or 0. */
  readonly xattrBlock: number;
  /** Of files and directories; neighbours of one state joined, whatever their places on the media. */
  readonly extents: readonly SnapshotExtent[];
  /** How many stretches the extents are on the media: what the tree has to hold. */
  readonly fragments: number;
}

/** A whole tree, and a way to its bytes, good until the next operation. */
export interface Snapshot {
  /** By path from the root; '' is the root. `lost+found` is left out. */
  readonly entries: ReadonlyMap<string, SnapshotEntry>;
  readonly freeBlocks: number;
  readonly freeInodes: number;
  read(entry: SnapshotEntry, offset: number, target: Buffer): number;
}

/** What counts as 'now'. */
export interface Times {
  /** Times from here on are 'now': set by an operation, not by `utimes`. */
  readonly nowFromNs: bigint;
  readonly nowToNs: bigint;
}

const BLOCK = 4096;
const SECTORS_PER_BLOCK = 8;
const WHOLE_FILE_BYTES = 1024 * 1024;
const READ_BYTES = 256 * 1024;
const SHOWN_DIFFERENCES_MAX = 20;
/** Extents in the root of a tree: up to here no tree block is needed. */
const ROOT_EXTENTS = 4;
/** Extents in a block of a tree. */
const BLOCK_EXTENTS = 340;
const TREE_DEPTH_MAX = 5;
/** One block in so many may be a leaf that only one side has split. */

/** Joins extents that touch and have one state. */
export function joinSnapshotExtents(extents: readonly SnapshotExtent[]): SnapshotExtent[] {
  const joined: { from: number; to: number; unwritten: boolean }[] = [];
  for (const extent of extents.toSorted((a, b) => a.from - b.from)) {
    const last = joined.at(-1);
    if (last?.to === extent.from && last.unwritten === extent.unwritten) last.to = extent.to;
    else joined.push({ ...extent });
  }
  return joined;
}

/**
 * What differs between two trees, one line each. Two filesystems that did the same may differ
 * in what POSIX and the format leave open, and in nothing else:
 *
 * - numbers of inodes and blocks;
 * - times that no one set: both must be 'now';
 * - blocks of an extent tree, which st_blocks counts too: how many a file needs follows from
 *   how many stretches it has on the media, which is the allocator's choice; and the kernel
 *   keeps the depth of a tree that was deep once. Blocks of data must be the same to the
 *   block, attributes must have a block on both sides or on neither, and what is left of
 *   st_blocks must be what a tree of so many stretches can have. That it is right to the block
 *   is for e2fsck, and for free + used, which is always the same.
 *
 * Of the kernel's habits one is turned off for this, that it zeroes short unwritten extents
 * instead of splitting them (see `KernelMount`): else data and holes would differ as well.
 */
export function differences(ours: Snapshot, theirs: Snapshot, times: Times): string[] {
  const lines: string[] = [];
  for (const path of ours.entries.keys()) {
    if (!theirs.entries.has(path)) lines.push(`${shown(path)}: only daxd has it`);
  }
  const firstPaths = { ours: firstPathByInode(ours), theirs: firstPathByInode(theirs) };
  for (const [path, their] of theirs.entries) {
    if (lines.length > SHOWN_DIFFERENCES_MAX) return [...lines, '… and more'];
    const our = ours.entries.get(path);
    if (our === undefined) {
      lines.push(`${shown(path)}: only the kernel has it`);
      continue;
    }
    const isFirst = firstPaths.theirs.get(their.inode) === path;
    if (firstPaths.ours.get(our.inode) !== firstPaths.theirs.get(their.inode)) {
      lines.push(
        `${shown(path)}: is another name of ${shown(firstPaths.ours.get(our.inode) ?? '')}`,
      );
    }
    if (!isFirst) continue;
    lines.push(...fieldDifferences(our, their, times));
    if (their.type === 'file') lines.push(...contentDifferences(ours, theirs, our, their));
  }
  return lines;
}

/** What a tree takes up, in blocks, shared blocks of attributes once. */
export function usedBlocks({ entries }: Snapshot): number {
  const seen = new Set<number>();
  const xattrBlocks = new Set<number>();
  let blocks = 0;
  for (const { inode, sectors, xattrBlock } of entries.values()) {
    if (seen.has(inode)) continue;
    seen.add(inode);
    blocks += sectors / SECTORS_PER_BLOCK;
    if (xattrBlock === 0) continue;
    if (xattrBlocks.has(xattrBlock)) blocks--;
    xattrBlocks.add(xattrBlock);
  }
  return blocks;
}

/** How many inodes a tree has. */
export function usedInodes({ entries }: Snapshot): number {
  return new Set([...entries.values()].map(({ inode }) => inode)).size;
}

function firstPathByInode({ entries }: Snapshot): Map<number, string> {
  const first = new Map<number, string>();
  for (const [path, { inode }] of entries) {
    const known = first.get(inode);
    if (known === undefined || path < known) first.set(inode, path);
  }
  return first;
}

function fieldDifferences(our: SnapshotEntry, their: SnapshotEntry, times: Times): string[] {
  const lines: string[] = [];
  const compare = (name: string, a: unknown, b: unknown): void => {
    if (a !== b)
      lines.push(`${shown(their.path)}: ${name} ${String(a)}, the kernel has ${String(b)}`);
  };
  compare('type', our.type, their.type);
  compare('mode', our.mode.toString(8), their.mode.toString(8));
  compare('owner', `${our.uid}:${our.gid}`, `${their.uid}:${their.gid}`);
  compare('nlink', our.nlink, their.nlink);
  compare('mtime', shownTime(our.mtimeNs, times), shownTime(their.mtimeNs, times));
  compare('atime', shownTime(our.atimeNs, times), shownTime(their.atimeNs, times));
  compare('ctime', shownTime(our.ctimeNs, times), shownTime(their.ctimeNs, times));
  compare('target', our.target, their.target);
  compare('device', our.device?.join(':'), their.device?.join(':'));
  compare('xattrs', shownXattrs(our), shownXattrs(their));
  compare('xattr block', our.xattrBlock !== 0, their.xattrBlock !== 0);
  if (their.type === 'directory') lines.push(...directoryDifferences(our, their));
  compare('size', our.size, their.size);
  compare('data', shownExtents(our), shownExtents(their));
  for (const [who, entry] of [
    ['daxd', our],
    ['the kernel', their],
  ] as const) {
    if (isTreeAllowed(entry)) continue;
    lines.push(
      `${shown(their.path)}: ${who} counts ${treeBlocks(entry)} tree blocks for ${entry.fragments} stretches`,
    );
  }
  return lines;
}

/** A directory has all its blocks, written; its size is what they hold. */
function directoryDifferences(our: SnapshotEntry, their: SnapshotEntry): string[] {
  return [our, their]
    .filter((entry) => entry.size !== dataBlocks(entry) * BLOCK)
    .map((entry) => `${shown(entry.path)}: a directory of ${entry.size}: ${shownExtents(entry)}`);
}

/** Blocks of the file's extent tree: what is counted beyond data and attributes. */
function treeBlocks(entry: SnapshotEntry): number {
  return entry.sectors / SECTORS_PER_BLOCK - dataBlocks(entry) - (entry.xattrBlock === 0 ? 0 : 1);
}

/** From as many as a full tree has up to one an extent, and a chain of a level each. */
function isTreeAllowed(entry: SnapshotEntry): boolean {
  const { fragments } = entry;
  const blocks = treeBlocks(entry);
  if (fragments === 0) return blocks === 0;
  const least = fragments > ROOT_EXTENTS ? Math.ceil(fragments / BLOCK_EXTENTS) : 0;
  return blocks >= least && blocks <= fragments + TREE_DEPTH_MAX;
}

function dataBlocks({ extents }: SnapshotEntry): number {
  return extents.reduce((sum, { from, to }) => sum + (to - from) / BLOCK, 0);
}

/**
 * Compares bytes: all of a small file, and of a large one what has blocks on either side. That
 * the same bytes are holes on both sides is compared elsewhere.
 */
function contentDifferences(
  ours: Snapshot,
  theirs: Snapshot,
  our: SnapshotEntry,
  their: SnapshotEntry,
): string[] {
  const size = Math.min(our.size, their.size);
  const spans =
    size <= WHOLE_FILE_BYTES
      ? [{ from: 0, to: size }]
      : [...our.extents, ...their.extents, { from: size - BLOCK, to: size }];
  for (const { from, to } of spans) {
    const end = Math.min(to, size);
    for (let at = from; at < end; at += READ_BYTES) {
      const length = Math.min(READ_BYTES, end - at);
      const a = Buffer.alloc(length, 1);
      const b = Buffer.alloc(length, 2);
      const counts = [ours.read(our, at, a), theirs.read(their, at, b)];
      if (counts.every((count) => count === length) && a.equals(b)) continue;
      const first = a.findIndex((byte, i) => byte !== b[i]);
      const place = `${at + first} of ${size}: ${a[first]}, the kernel has ${b[first]}`;
      return [`${shown(their.path)}: byte ${place} (read ${counts.join(' and ')} of ${length})`];
    }
  }
  return [];
}

function shownXattrs({ xattrs }: SnapshotEntry): string {
  return xattrs
    .map(([name, value]) => `${name}=${value.slice(0, 16)}(${value.length / 2})`)
    .join(' ');
}

function shownExtents({ extents }: SnapshotEntry): string {
  const list = extents.map(
    ({ from, to, unwritten }) => `${from / BLOCK}-${to / BLOCK}${unwritten ? 'u' : ''}`,
  );
  return list.length <= 40 ? list.join(' ') : `${list.length}: ${list.join(' ')}`;
}

function shownTime(timeNs: bigint, { nowFromNs, nowToNs }: Times): string {
  return timeNs >= nowFromNs && timeNs <= nowToNs ? 'now' : `${timeNs}`;
}

function shown(path: string): string {
  return path.length <= 120 ? `/${path}` : `/…${path.slice(-110)}`;
}
