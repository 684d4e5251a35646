import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';

import { DaxdError, systemCodeOf } from '../lib/errno.js';
import type { Backing, OpenBackingOptions } from './backing.js';
import { DeviceDaxBacking } from './device-dax-backing.js';
import { FileBacking } from './file-backing.js';
import { fileSystemError } from './system-call-error.js';

/**
 * Opens, locks and maps what lies at `path`: a regular file, or a device-dax node. A missing
 * file is created when `options.sizeBytes` says how large. Symlinks are followed.
 *
 * @throws DaxdError ENOENT (missing, and no size, or read-only), EISDIR, EINVAL (any other
 *   kind of file, or a bad size), ENODEV (a character device of another driver), EBUSY
 *   (locked by another process), ENOSPC, EOPNOTSUPP (libpmem is missing), or the errno of
 *   stat(2), open(2) or mmap(2). Nothing is written and no file is left behind.
 */
export async function openBacking(path: string, options: OpenBackingOptions): Promise<Backing> {
  const backing = await dispatch(path, options);
  if (backing.persistence === 'none' && !backing.readOnly) {
    const { kind, persistence } = backing;
    options.log.warn({ path, kind, persistence }, 'stores to this backing are not made durable');
  }
  return backing;
}

async function dispatch(path: string, options: OpenBackingOptions): Promise<Backing> {
  const found = await statOf(path);
  if (found === undefined) return createMissing(path, options);
  if (found.isFile()) return FileBacking.open(path, options);
  if (found.isCharacterDevice()) return DeviceDaxBacking.open(path, options);
  if (found.isDirectory()) {
    throw new DaxdError('EISDIR', `${path} is a directory: name a file in it`);
  }
  throw new DaxdError(
    'EINVAL',
    `${path} is a ${kindOf(found)}: give a regular file, or a device-dax node such as /dev/dax0.0`,
  );
}

async function createMissing(path: string, options: OpenBackingOptions): Promise<Backing> {
  if (isInDev(path)) {
    throw new DaxdError(
      'ENOENT',
      `${path} is not there, and nothing is created in /dev: load the driver of the device, and see daxctl list`,
    );
  }
  if (options.readOnly === true) {
    throw new DaxdError('ENOENT', `${path} is not there, and --read-only creates nothing`);
  }
  if (options.sizeBytes === undefined) {
    throw new DaxdError('ENOENT', `${path} is not there: give --size to create it`);
  }
  return FileBacking.create(path, options.sizeBytes, options);
}

/** There a file would be memory that is lost; /dev/shm is made for files. */
function isInDev(path: string): boolean {
  const absolute = resolve(path);
  return absolute.startsWith('/dev/') && !absolute.startsWith('/dev/shm/');
}

/** `undefined` when nothing lies there. */
async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (cause) {
    if (systemCodeOf(cause) === 'ENOENT') return undefined;
    throw fileSystemError(`open ${path}`, cause);
  }
}

function kindOf(found: Stats): string {
  if (found.isBlockDevice()) return 'block device';
  if (found.isFIFO()) return 'fifo';
  return found.isSocket() ? 'socket' : 'file of unknown kind';
}
