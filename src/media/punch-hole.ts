import { DaxdError } from '../lib/errno.js';
import { FallocateMode, fallocate } from './fallocate.js';
import type { RawMemory } from './raw-memory.js';

/**
 * Makes a hole of a range of a file: it reads as zeros, through every mapping, and its blocks
 * are free. A later store there can find the disk full.
 *
 * @throws DaxdError EOPNOTSUPP for a device or where the filesystem has no holes, and nothing
 *   was done; EIO, ENOSPC.
 */
export function punchHole(memory: RawMemory, offset: number, length: number): void {
  change(memory, FallocateMode.PunchHole, offset, length);
}

/**
 * Makes a range of a file read as zeros without storing them: its blocks stay allocated.
 *
 * @throws DaxdError as {@link punchHole}.
 */
export function zeroRange(memory: RawMemory, offset: number, length: number): void {
  change(memory, FallocateMode.ZeroRange, offset, length);
}

function change({ kind, path, fd }: RawMemory, mode: number, offset: number, length: number): void {
  if (kind !== 'file') throw new DaxdError('EOPNOTSUPP', `${path} is a device, which has no holes`);
  fallocate({ fd, path, offset, length }, mode | FallocateMode.KeepSize);
}
