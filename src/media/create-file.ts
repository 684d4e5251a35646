import { type FileHandle, open, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';

import { DaxdError } from '../lib/errno.js';
import { allocateFile } from './fallocate.js';
import { fileSystemError } from './system-call-error.js';

/** The file to make of an empty one. */
export interface CreateFileRequest {
  readonly path: string;
  readonly sizeBytes: number;
  /** Leaves it without blocks, as one hole. */
  readonly sparse: boolean;
}

/**
 * Gives a new, empty file its size and its blocks, and makes both durable, its name too. A
 * full disk under a file without blocks would be a SIGBUS at some later store.
 *
 * @throws DaxdError ENOSPC when the disk has not that much room, EFBIG when the filesystem
 *   has no such large files.
 */
export async function createFile(handle: FileHandle, request: CreateFileRequest): Promise<void> {
  const { path, sizeBytes, sparse } = request;
  try {
    if (sparse) {
      await handle.truncate(sizeBytes);
    } else {
      await checkRoom(path, sizeBytes);
      await allocateFile({ path, fd: handle.fd }, sizeBytes);
    }
    await handle.sync();
    await syncDirectory(dirname(path));
  } catch (cause) {
    throw fileSystemError(`create ${path} with ${sizeBytes} bytes`, cause);
  }
}

/** Asks first, since fallocate fills the disk to the last block before it gives up. */
async function checkRoom(path: string, sizeBytes: number): Promise<void> {
  const { bfree, bsize } = await statfs(path);
  if (sizeBytes <= bfree * bsize) return;
  throw new DaxdError(
    'ENOSPC',
    `${path}: ${sizeBytes} bytes do not fit, ${bfree * bsize} are free: ` +
      'give a smaller --size, or --sparse to allocate blocks only when they are written',
  );
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
