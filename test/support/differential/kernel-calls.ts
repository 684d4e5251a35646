/** System calls that node:fs does not have, for the kernel's side of a differential test. */
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';

import koffi from 'koffi';

type Call = (...args: (string | number | bigint | Buffer | null)[]) => number;

const libc = koffi.load('libc.so.6');
const call = (signature: string): Call => libc.func(signature) as Call;

const fallocateCall = call('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
const renameat2 = call(
  'int renameat2(int from, const char *a, int to, const char *b, unsigned int flags)',
);
const mknodCall = call('int mknod(const char *path, uint32_t mode, uint64_t device)');
const lseekCall = call('int64_t lseek(int fd, int64_t offset, int whence)');
const utimensat = call('int utimensat(int dir, const char *path, void *times, int flags)');
const syscall = call(
  'long syscall(long number, int dir, const char *path, uint32_t mode, uint32_t flags)',
);
const chroot = call('int chroot(const char *path)');
const chdir = call('int chdir(const char *path)');
const fchdir = call('int fchdir(int fd)');
const syncfsCall = call('int syncfs(int fd)');
const fadvise = call('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)');
const ioctl = call('int ioctl(int fd, unsigned long request, void *argument)');
const setxattr = call(
  'int setxattr(const char *path, const char *name, void *value, size_t size, int flags)',
);
const lsetxattr = call(
  'int lsetxattr(const char *path, const char *name, void *value, size_t size, int flags)',
);
const getxattr = call(
  'int64_t getxattr(const char *path, const char *name, void *value, size_t size)',
);
const lgetxattr = call(
  'int64_t lgetxattr(const char *path, const char *name, void *value, size_t size)',
);
const llistxattr = call('int64_t llistxattr(const char *path, void *list, size_t size)');
const removexattr = call('int removexattr(const char *path, const char *name)');
const lremovexattr = call('int lremovexattr(const char *path, const char *name)');

/** Values of Linux (linux/falloc.h, linux/fs.h, linux/stat.h, linux/fcntl.h). */
export const FallocateMode = {
  KeepSize: 1,
  PunchHole: 2,
  CollapseRange: 8,
  ZeroRange: 16,
  InsertRange: 32,
} as const;

const SEEK = { data: 3, hole: 4 } as const;
const RENAME_NOREPLACE = 1;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
/** Since Linux 6.6; glibc has no call for it yet. One number on all platforms of Node. */
const SYS_FCHMODAT2 = 452;
const UTIME_OMIT = 2n ** 30n - 2n;
const POSIX_FADV_DONTNEED = 4;
const XATTR = { create: 1, replace: 2 } as const;
const XATTR_BYTES_MAX = 65536;
const NS_PER_SECOND = 1_000_000_000n;

/** ioctl FS_IOC_FIEMAP (linux/fiemap.h): a header of 32 bytes, then extents of 56. */
const FIEMAP = 0xc020660bn;
const FIEMAP_FLAG_SYNC = 1;
const FIEMAP_EXTENT_LAST = 1;
const FIEMAP_EXTENT_UNWRITTEN = 0x800;
const FIEMAP_HEADER_BYTES = 32;
const FIEMAP_EXTENT_BYTES = 56;
const FIEMAP_EXTENTS = 128;
const FIEMAP_MAX_OFFSET = 2n ** 64n - 1n;

/** A failure of a system call: its `code` is the errno's name, as with node:fs. */
class CallError extends Error {
  readonly code: string;

  constructor(name: string) {
    const errno = koffi.errno();
    const code = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0];
    super(`${name}: ${code ?? errno}`);
    this.code = code ?? `errno ${errno}`;
  }
}

function check(name: string, result: number): number {
  if (result >= 0) return result;
  throw new CallError(name);
}

/**
 * Runs system calls with a directory as the root of this process, so that no symlink leads out
 * of it. Synchronous: nothing else of the process runs meanwhile.
 */
export function withRoot<T>(directory: string, body: () => T): T {
  const before = process.cwd();
  const root = openSync('/', 'r');
  try {
    check('chroot', chroot(directory));
    try {
      check('chdir', chdir('/'));
      return body();
    } finally {
      check('fchdir', fchdir(root));
      check('chroot', chroot('.'));
      check('chdir', chdir(before));
    }
  } finally {
    closeSync(root);
  }
}

/** One of the modes of fallocate(2). */
export function fallocate(fd: number, mode: number, offset: number, length: number): void {
  check('fallocate', fallocateCall(fd, mode, offset, length));
}

/** Moves a name; with `noReplace` only where `to` is free. */
export function rename(from: string, to: string, noReplace: boolean): void {
  const flags = noReplace ? RENAME_NOREPLACE : 0;
  check('renameat2', renameat2(AT_FDCWD, from, AT_FDCWD, to, flags));
}

/** Makes a device node, fifo or socket; `mode` has the type bits. */
export function mknod(path: string, mode: number, [major, minor]: [number, number]): void {
  const device =
    (BigInt(major & 0xfff) << 8n) |
    BigInt(minor & 0xff) |
    (BigInt(minor >>> 8) << 20n) |
    (BigInt(major >>> 12) << 44n);
  check('mknod', mknodCall(path, mode, device));
}

/** The next data, or hole, from `offset` on, as it is on the media: nothing is cached. */
export function seek(fd: number, offset: number, whence: 'data' | 'hole'): number {
  return check('lseek', lseekCall(fd, offset, SEEK[whence]));
}

/** Drops what the page cache has of a file that is synced: pages read make unwritten blocks data. */
export function dropPages(fd: number): void {
  const failure = fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  if (failure !== 0) throw new Error(`posix_fadvise fails with errno ${failure}`);
}

/** Sets permissions; of a symlink itself that is refused. */
export function changeMode(path: string, mode: number, follow: boolean): void {
  const flags = follow ? 0 : AT_SYMLINK_NOFOLLOW;
  check('fchmodat2', syscall(SYS_FCHMODAT2, AT_FDCWD, path, mode, flags));
}

/** Sets one or both times, to the nanosecond. */
export function setTimes(
  path: string,
  { atimeNs, mtimeNs }: { atimeNs?: bigint; mtimeNs?: bigint },
  follow: boolean,
): void {
  const times = Buffer.alloc(32);
  for (const [i, time] of [atimeNs, mtimeNs].entries()) {
    if (time === undefined) {
      times.writeBigInt64LE(UTIME_OMIT, i * 16 + 8);
      continue;
    }
    const rest = ((time % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
    times.writeBigInt64LE((time - rest) / NS_PER_SECOND, i * 16);
    times.writeBigInt64LE(rest, i * 16 + 8);
  }
  check('utimensat', utimensat(AT_FDCWD, path, times, follow ? 0 : AT_SYMLINK_NOFOLLOW));
}

/** Stores everything that is dirty on the filesystem that a path is on. */
export function syncFilesystem(path: string): void {
  const fd = openSync(path, 'r');
  try {
    check('syncfs', syncfsCall(fd));
  } finally {
    closeSync(fd);
  }
}

/** Sets an extended attribute. */
export function setXattr(
  path: string,
  name: string,
  value: Buffer,
  { only, follow }: { only?: 'create' | 'replace' | undefined; follow: boolean },
): void {
  const flags = only === undefined ? 0 : XATTR[only];
  // A pointer to nothing is refused by koffi for an empty Buffer.
  const bytes = value.length === 0 ? Buffer.alloc(1) : value;
  const set = follow ? setxattr : lsetxattr;
  check('setxattr', set(path, name, bytes, value.length, flags));
}

/** The value of an extended attribute. */
export function getXattr(path: string, name: string, follow: boolean): Buffer {
  const get = follow ? getxattr : lgetxattr;
  const length = check('getxattr', get(path, name, xattrBytes, XATTR_BYTES_MAX));
  return Buffer.from(xattrBytes.subarray(0, length));
}

/** Removes an extended attribute. */
export function removeXattr(path: string, name: string, follow: boolean): void {
  check('removexattr', (follow ? removexattr : lremovexattr)(path, name));
}

/** Names of the extended attributes of a path itself. */
export function listXattrs(path: string): string[] {
  const length = check('llistxattr', llistxattr(path, xattrBytes, XATTR_BYTES_MAX));
  return xattrBytes
    .subarray(0, length)
    .toString()
    .split('\0')
    .filter((name) => name !== '');
}

/** An extent as FIEMAP tells it, in bytes. */
export interface KernelExtent {
  readonly logical: number;
  readonly physical: number;
  readonly length: number;
  readonly unwritten: boolean;
}

/** Calls are synchronous, so that each can have the same memory. */
const map = Buffer.alloc(FIEMAP_HEADER_BYTES + FIEMAP_EXTENTS * FIEMAP_EXTENT_BYTES);
const xattrBytes = Buffer.alloc(XATTR_BYTES_MAX);

/** All extents of an open file or directory, once what is dirty is stored. */
export function fiemap(fd: number): KernelExtent[] {
  const extents: KernelExtent[] = [];
  for (let from = 0n, isLast = false; !isLast;) {
    map.fill(0, 0, FIEMAP_HEADER_BYTES);
    map.writeBigUInt64LE(from, 0);
    map.writeBigUInt64LE(FIEMAP_MAX_OFFSET - from, 8);
    map.writeUInt32LE(FIEMAP_FLAG_SYNC, 16);
    map.writeUInt32LE(FIEMAP_EXTENTS, 24);
    check('fiemap', ioctl(fd, FIEMAP, map));
    const count = map.readUInt32LE(20);
    isLast = count === 0;
    for (let i = 0; i < count; i++) {
      const at = FIEMAP_HEADER_BYTES + i * FIEMAP_EXTENT_BYTES;
      const [logical, physical, length] = [0, 8, 16].map((field) =>
        map.readBigUInt64LE(at + field),
      );
      if (logical === undefined || physical === undefined || length === undefined) break;
      const extentFlags = map.readUInt32LE(at + 40);
      from = logical + length;
      isLast = (extentFlags & FIEMAP_EXTENT_LAST) !== 0;
      extents.push({
        logical: Number(logical),
        physical: Number(physical),
        length: Number(length),
        unwritten: (extentFlags & FIEMAP_EXTENT_UNWRITTEN) !== 0,
      });
    }
  }
  return extents;
}
