import { closeSync, lstatSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';

import type { InodeType } from '../../../src/fs/ext4/inode.js';
import { fiemap, getXattr, listXattrs } from './kernel-calls.js';
import type { KernelExtent } from './kernel-calls.js';
import { KernelInodes } from './kernel-inodes.js';
import { joinSnapshotExtents } from './snapshot.js';
import type { SnapshotEntry } from './snapshot.js';

const BLOCK = 4096;
/** What an extent holds at most: longer stretches are several (ext4_extents.h). */
const EXTENT_BYTES_MAX = 32768 * BLOCK;

/** Every name under a directory of a kernel mount; `device` is what is mounted there. */
export function kernelEntries(root: string, device: string): Map<string, SnapshotEntry> {
  const entries = new Map<string, SnapshotEntry>();
  const inodes = new KernelInodes(device);
  const known = new Map<bigint, SnapshotEntry>();
  const visit = (path: string): void => {
    const stat = lstatSync(at(root, path), { bigint: true });
    const entry = { ...(known.get(stat.ino) ?? kernelEntry(root, path, stat, inodes)), path };
    known.set(stat.ino, entry);
    entries.set(path, entry);
    if (entry.type !== 'directory') return;
    for (const name of readdirSync(at(root, path))) {
      const below = path === '' ? name : `${path}/${name}`;
      if (below !== 'lost+found') visit(below);
    }
  };
  try {
    visit('');
  } finally {
    inodes.close();
  }
  return entries;
}

function at(root: string, path: string): string {
  return path === '' ? root : `${root}/${path}`;
}

function kernelEntry(
  root: string,
  path: string,
  stat: BigIntStats,
  inodes: KernelInodes,
): SnapshotEntry {
  const full = at(root, path);
  const type = typeOf(stat);
  const device = Number(stat.rdev);
  const isDevice = type === 'char' || type === 'block';
  return {
    path,
    type,
    inode: Number(stat.ino),
    mode: Number(stat.mode),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    nlink: Number(stat.nlink),
    size: Number(stat.size),
    sectors: Number(stat.blocks),
    atimeNs: stat.atimeNs,
    mtimeNs: stat.mtimeNs,
    ctimeNs: stat.ctimeNs,
    ...(type === 'symlink' ? { target: readlinkSync(full, 'latin1') } : {}),
    ...(isDevice ? { device: deviceOf(device) } : {}),
    xattrs: listXattrs(full)
      .toSorted()
      .map((name) => [name, getXattr(full, name, false).toString('hex')] as const),
    xattrBlock: inodes.xattrBlock(Number(stat.ino)),
    ...mapOf(full, type, stat),
  };
}

/** Extents of files and directories; of the others nothing can be opened, and blocks tell. */
function mapOf(
  full: string,
  type: InodeType,
  stat: BigIntStats,
): Pick<SnapshotEntry, 'extents' | 'fragments'> {
  if (type !== 'file' && type !== 'directory') return closedMap(type, stat);
  const fd = openSync(full, 'r');
  try {
    const extents = fiemap(fd);
    return {
      extents: joinSnapshotExtents(
        extents.map(({ logical, length, unwritten }) => ({
          from: logical,
          to: logical + length,
          unwritten,
        })),
      ),
      fragments: fragmentsOf(extents),
    };
  } finally {
    closeSync(fd);
  }
}

/**
 * What the tree has to hold at least. The kernel answers from what it keeps in memory, where one
 * extent of the media may stand in pieces.
 */
function fragmentsOf(extents: readonly KernelExtent[]): number {
  const joined: { start: number; end: number; unwritten: boolean; length: number }[] = [];
  for (const { logical, physical, length, unwritten } of extents) {
    const start = physical - logical;
    const last = joined.at(-1);
    const isNext = last?.end === logical && last.start === start && last.unwritten === unwritten;
    if (isNext) {
      last.end += length;
      last.length += length;
    } else {
      joined.push({ start, end: logical + length, unwritten, length });
    }
  }
  return joined.reduce((sum, { length }) => sum + Math.ceil(length / EXTENT_BYTES_MAX), 0);
}

const FAST_TARGET_BYTES = 60n;

/** A slow symlink has one block, and nothing else here has data. */
function closedMap(
  type: InodeType,
  stat: BigIntStats,
): Pick<SnapshotEntry, 'extents' | 'fragments'> {
  const isSlow = type === 'symlink' && stat.size >= FAST_TARGET_BYTES;
  return {
    extents: isSlow ? [{ from: 0, to: BLOCK, unwritten: false }] : [],
    fragments: isSlow ? 1 : 0,
  };
}

function typeOf(stat: BigIntStats): InodeType {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'directory';
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isCharacterDevice()) return 'char';
  if (stat.isBlockDevice()) return 'block';
  return stat.isFIFO() ? 'fifo' : 'socket';
}

/** Takes st_rdev apart as glibc put it together. */
function deviceOf(device: number): [number, number] {
  const bits = BigInt(device);
  const major = ((bits >> 8n) & 0xfffn) | ((bits >> 32n) & 0xfffff000n);
  const minor = (bits & 0xffn) | ((bits >> 12n) & 0xffffff00n);
  return [Number(major), Number(minor)];
}
