import koffi from 'koffi';

import type { OpenedFile } from './opened-file.js';
import { systemCallError } from './system-call-error.js';

/** An extended attribute of an open file. */
export interface FileAttribute extends OpenedFile {
  /** With its namespace, such as `user.daxd.leases`. */
  readonly name: string;
}

/** The largest value that Linux keeps, in bytes (XATTR_SIZE_MAX, linux/limits.h). */
const VALUE_BYTES_MAX = 65536;

/** What says that there is no room for one (xattr(7)): ext4 keeps a long one in a block of its own. */
const FULL = ['ENOSPC', 'EDQUOT'];
/** What says that this filesystem, node or caller has no such attributes (xattr(7)). */
const NONE_HERE = ['EOPNOTSUPP', 'EPERM', 'EACCES', 'EROFS', 'ENOSYS'];

const libc = koffi.load('libc.so.6');
const fgetxattr: (fd: number, name: string, value: Buffer, size: number) => number = libc.func(
  'int64_t fgetxattr(int fd, const char *name, void *value, size_t size)',
);
const fsetxattr: (...args: [number, string, Buffer, number, number]) => number = libc.func(
  'int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)',
);
const fremovexattr: (fd: number, name: string) => number = libc.func(
  'int fremovexattr(int fd, const char *name)',
);

/**
 * The value of an attribute; undefined where the file has none of that name, or cannot have any.
 *
 * @throws DaxdError with any other errno of fgetxattr(2).
 */
export function readXattr({ fd, path, name }: FileAttribute): Buffer | undefined {
  const value = Buffer.alloc(VALUE_BYTES_MAX);
  const length = fgetxattr(fd, name, value, value.length);
  if (length >= 0) return value.subarray(0, length);
  const errno = koffi.errno();
  if (isOne(errno, ['ENODATA', ...NONE_HERE])) return undefined;
  throw systemCallError('fgetxattr', `${name} of ${path}`, errno);
}

/**
 * Sets an attribute, whether it was there or not.
 *
 * @returns false where the file cannot have it, or its disk is full.
 * @throws DaxdError with any other errno of fsetxattr(2).
 */
export function writeXattr({ fd, path, name }: FileAttribute, value: Buffer): boolean {
  if (fsetxattr(fd, name, value, value.length, 0) === 0) return true;
  const errno = koffi.errno();
  if (isOne(errno, [...FULL, ...NONE_HERE])) return false;
  throw systemCallError('fsetxattr', `${name} of ${path}`, errno);
}

/** Takes an attribute away, where it is there. @throws DaxdError with an errno of fremovexattr(2) */
export function removeXattr({ fd, path, name }: FileAttribute): void {
  if (fremovexattr(fd, name) === 0) return;
  const errno = koffi.errno();
  if (isOne(errno, ['ENODATA', ...NONE_HERE])) return;
  throw systemCallError('fremovexattr', `${name} of ${path}`, errno);
}

function isOne(errno: number, names: readonly string[]): boolean {
  return names.some((name) => koffi.os.errno[name] === errno);
}
