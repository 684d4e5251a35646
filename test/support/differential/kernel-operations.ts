import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lchownSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';

import {
  changeMode,
  dropPages,
  fallocate,
  FallocateMode,
  getXattr,
  mknod,
  removeXattr,
  rename,
  seek,
  setTimes,
  setXattr,
} from './kernel-calls.js';
import { bytesOf, crowdPaths, READ_BACK_BYTES, scatteredBytes } from './operation.js';
import type { Answer, OperationKind, OperationOf } from './operation.js';

const { O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY } = constants;
const BLOCK = 4096;
const NODE_TYPES = { char: 0o020000, block: 0o060000, fifo: 0o010000, socket: 0o140000 } as const;
/** s_maxbytes of extents: 2^32 - 1 blocks. */
const FILE_BYTES_MAX = (2 ** 32 - 1) * 4096;
/** chown(2): leaves an owner as it is. */
const ID_UNCHANGED = 2 ** 32 - 1;

/** Each operation by system calls, while the mount is the root of this process. */
export const KERNEL_OPERATIONS: {
  readonly [K in OperationKind]: (operation: OperationOf<K>) => Answer;
} = {
  create({ path }) {
    closeSync(openSync(rooted(path), O_CREAT | O_EXCL | O_WRONLY, 0o644));
  },
  mkdir({ path }) {
    mkdirSync(rooted(path), 0o755);
  },
  remove({ path }) {
    remove(rooted(path));
  },
  rename({ path, to, noReplace }) {
    rename(rooted(path), rooted(to), noReplace);
  },
  link({ path, to }) {
    linkSync(rooted(path), rooted(to));
  },
  symlink({ path, target }) {
    symlinkSync(target, rooted(path));
  },
  mknod({ path, type, mode, major, minor }) {
    mknod(rooted(path), NODE_TYPES[type] | mode, [major, minor]);
  },
  crowd(operation) {
    const path = rooted(operation.path);
    for (const name of crowdPaths(operation)) linkSync(path, rooted(name));
  },
  thin(operation) {
    for (const name of crowdPaths(operation)) remove(rooted(name));
  },
  attributes({ path, follow, set: { mode, uid, gid, ...times } }) {
    if (uid !== undefined || gid !== undefined) {
      const change = follow ? chownSync : lchownSync;
      change(rooted(path), uid ?? ID_UNCHANGED, gid ?? ID_UNCHANGED);
    }
    if (mode !== undefined) changeMode(rooted(path), mode, follow);
    if (Object.keys(times).length > 0) setTimes(rooted(path), times, follow);
  },
  setXattr({ path, name, fill, length, only, follow }) {
    setXattr(rooted(path), name, bytesOf(fill, length), { only, follow });
  },
  getXattr: ({ path, name, follow }) => getXattr(rooted(path), name, follow).toString('hex'),
  removeXattr({ path, name, follow }) {
    removeXattr(rooted(path), name, follow);
  },
  read: ({ path, offset, length }) =>
    withFile(path, O_RDONLY, (fd) => {
      // Node asks the kernel for nothing where nothing is wanted: a directory must still refuse.
      const target = Buffer.alloc(Math.max(1, length));
      const count = readSync(fd, target, 0, target.length, offset);
      return target.subarray(0, Math.min(count, length)).toString('hex');
    }),
  seek: ({ path, offset, whence }) =>
    withFile(path, O_RDONLY, (fd) => {
      // In a directory the kernel seeks among hashes, not among bytes.
      if (fstatSync(fd).isDirectory()) throw failure('SPECIAL');
      // Else pages that were read, or are not stored yet, make data of what is unwritten.
      fsyncSync(fd);
      dropPages(fd);
      return seek(fd, offset, whence);
    }),
  replace: ({ path, exclusive, fill, length }) =>
    withFile(path, O_CREAT | O_WRONLY | (exclusive ? O_EXCL : 0), (fd) => {
      ftruncateSync(fd, 0);
      writeAll(fd, bytesOf(fill, length), 0);
    }),
  write: ({ path, offset, fill, length }) =>
    withFile(path, O_RDWR, (fd) => {
      writeAll(fd, bytesOf(fill, length), offset);
    }),
  append: ({ path, fill, length }) =>
    // The offset is for the check alone: with O_APPEND the kernel takes none.
    withFile(path, O_WRONLY | O_APPEND, (fd) => {
      const { size } = fstatSync(fd);
      writeAll(fd, bytesOf(fill, length), size);
      return size;
    }),
  scatter: (operation) =>
    withFile(operation.path, O_RDWR, (fd) => {
      for (const [offset, bytes] of scatteredBytes(operation)) writeAll(fd, bytes, offset);
    }),
  unlinkOpen: ({ path, offset, fill, length }) =>
    withFile(path, O_RDWR, (fd) => {
      unlinkSync(rooted(path));
      writeAll(fd, bytesOf(fill, length), offset);
      const { size, nlink } = fstatSync(fd);
      const target = Buffer.alloc(READ_BACK_BYTES);
      const count = readSync(fd, target, 0, target.length, Math.max(0, size - target.length));
      return `${size} ${nlink} ${target.subarray(0, count).toString('hex')}`;
    }),
  lend: ({ path, offset, length }) =>
    withFile(path, O_RDWR, (fd) => {
      const { size } = fstatSync(fd);
      const end = offset + length;
      const last = Math.ceil(size / BLOCK) * BLOCK;
      if (length === 0 || offset >= size || end > last) throw failure('EINVAL');
      // What a store through a mapping does: whole pages become written blocks.
      const from = offset - (offset % BLOCK);
      const bytes = Buffer.alloc(Math.min(size, Math.ceil(end / BLOCK) * BLOCK) - from);
      readSync(fd, bytes, 0, bytes.length, from);
      writeAll(fd, bytes, from);
    }),
  truncate: ({ path, size }) =>
    withFile(path, O_RDWR, (fd) => {
      ftruncateSync(fd, size);
    }),
  fallocate: (operation) => changeSpace(operation, keepSize(operation)),
  zero: (operation) => changeSpace(operation, FallocateMode.ZeroRange | keepSize(operation)),
  punch: (operation) => changeSpace(operation, FallocateMode.PunchHole | FallocateMode.KeepSize),
  collapse: (operation) => changeSpace(operation, FallocateMode.CollapseRange),
  insert: (operation) => changeSpace(operation, FallocateMode.InsertRange),
};

/** A path of the program while the mount is the root. */
function rooted(path: string): string {
  return `/${path}`;
}

/** Opens what a path leads to; never a fifo or device, for that would reach through it. */
function withFile<T>(path: string, flags: number, body: (fd: number) => T): T {
  const isNew = (flags & O_EXCL) !== 0;
  const stat = isNew ? undefined : statSync(rooted(path), { throwIfNoEntry: false });
  if (stat !== undefined && !stat.isFile() && !stat.isDirectory()) throw failure('SPECIAL');
  const fd = openSync(rooted(path), flags, 0o644);
  try {
    return body(fd);
  } finally {
    closeSync(fd);
  }
}

/** Writes all or nothing, as daxd does: the kernel would write what fits below the largest size. */
function writeAll(fd: number, bytes: Buffer, offset: number): void {
  if (bytes.length === 0) return;
  if (offset + bytes.length > FILE_BYTES_MAX) throw failure('EFBIG');
  if (writeSync(fd, bytes, 0, bytes.length, offset) !== bytes.length) throw failure('ENOSPC');
}

function keepSize(operation: OperationOf<'fallocate' | 'zero'>): number {
  return operation.keepSize ? FallocateMode.KeepSize : 0;
}

/** The kernel sets mtime before it refuses; daxd leaves what it refuses alone, so mtime is put back. */
function changeSpace(
  { path, offset, length }: OperationOf<'fallocate' | 'zero' | 'punch' | 'collapse' | 'insert'>,
  mode: number,
): void {
  withFile(path, O_RDWR, (fd) => {
    const { mtimeNs } = fstatSync(fd, { bigint: true });
    try {
      fallocate(fd, mode, offset, length);
    } catch (error) {
      setTimes(rooted(path), { mtimeNs }, true);
      throw error;
    }
  });
}

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}

/** A name of any kind, as daxd's unlink takes it: an empty directory too. */
function remove(path: string): void {
  if (lstatSync(path).isDirectory()) rmdirSync(path);
  else unlinkSync(path);
}
