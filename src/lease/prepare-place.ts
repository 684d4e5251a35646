import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import type { FilePlace, LeasePlace } from './lease-place.js';
import type { LeaseRequest } from './lease-request.js';
import { PREPARE_ATTEMPTS_MAX } from './limits.js';

/** Whether a write lease may take the place, if nothing became a hole again. */
export function isPrepared(place: LeasePlace, prepared: FilePlace | undefined): boolean {
  if (place.file === undefined) return true;
  return (
    prepared?.target.fs === place.target.fs &&
    prepared.file.inode === place.file.inode &&
    prepared.file.generation === place.file.generation
  );
}

/** Prepares a file's pages for writing, also where all are written: that may not be durable yet. */
export async function prepare(
  place: LeasePlace,
  { path, access }: LeaseRequest,
  prepares: number,
): Promise<FilePlace> {
  assert(place.file !== undefined, 'raw pages need no preparation');
  if (prepares === PREPARE_ATTEMPTS_MAX) {
    throw new DaxdError(
      'EBUSY',
      `${path} lost its blocks ${PREPARE_ATTEMPTS_MAX} times while it was prepared for writing: ask again`,
    );
  }
  const { target, file, from, to } = place;
  await target.fs.prepareDma(file.inode, from, to - from, access);
  return place;
}
