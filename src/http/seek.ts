import { DaxdError } from '../lib/errno.js';
import type { FileSystem } from './control.js';
import { HttpRefusal } from './problem.js';

/**
 * The first byte of data, or of a hole, at or behind `offset`.
 *
 * @throws HttpRefusal 416 with ENXIO when there is none; DaxdError what the filesystem says.
 */
export function seekFrom(
  fs: FileSystem,
  inode: number,
  { offset, what }: { readonly offset: number; readonly what: 'data' | 'hole' },
): number {
  try {
    return what === 'data' ? fs.seekData(inode, offset) : fs.seekHole(inode, offset);
  } catch (cause) {
    // Elsewhere the code says that a device is going away.
    if (!(cause instanceof DaxdError) || cause.code !== 'ENXIO') throw cause;
    throw new HttpRefusal({ status: 416, code: 'ENXIO', message: cause.message });
  }
}
