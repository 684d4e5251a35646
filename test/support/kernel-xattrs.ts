import { constants } from 'node:os';

import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const lsetxattr: (...args: [string, string, Buffer, number, number]) => number = libc.func(
  'int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)',
);
const lgetxattr: (path: string, name: string, value: Buffer, size: number) => number = libc.func(
  'intptr_t lgetxattr(const char *path, const char *name, void *value, size_t size)',
);
const llistxattr: (path: string, list: Buffer, size: number) => number = libc.func(
  'intptr_t llistxattr(const char *path, void *list, size_t size)',
);
const lremovexattr: (path: string, name: string) => number = libc.func(
  'int lremovexattr(const char *path, const char *name)',
);

/** Flags of setxattr(2). */
const FLAGS = { create: 1, replace: 2 } as const;

/** Sets an attribute through the running kernel; gives `ok`, or the errno's name. */
export function kernelSetXattr(
  path: string,
  name: string,
  value: Buffer,
  only?: 'create' | 'replace',
): string {
  const flags = only === undefined ? 0 : FLAGS[only];
  return outcome(lsetxattr(path, name, value, value.length, flags));
}

/** Removes an attribute through the running kernel; gives `ok`, or the errno's name. */
export function kernelRemoveXattr(path: string, name: string): string {
  return outcome(lremovexattr(path, name));
}

/** All attributes as the running kernel has them, sorted by name; values in base64. */
export function kernelXattrs(path: string): [string, string][] {
  const list = Buffer.alloc(65536);
  const length = llistxattr(path, list, list.length);
  if (length < 0) throw new Error(`llistxattr ${path}: ${outcome(length)}`);
  const names = list.toString('utf8', 0, length).split('\0').slice(0, -1);
  return names.toSorted().map((name) => {
    const value = Buffer.alloc(65536);
    const size = lgetxattr(path, name, value, value.length);
    if (size < 0) throw new Error(`lgetxattr ${path} ${name}: ${outcome(size)}`);
    return [name, value.toString('base64', 0, size)];
  });
}

function outcome(result: number): string {
  if (result >= 0) return 'ok';
  const errno = koffi.errno();
  const name = Object.entries(constants.errno).find(([, value]) => value === errno);
  return name?.[0] ?? String(errno);
}
