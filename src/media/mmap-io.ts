import mmapIo from 'mmap-io';

import { assert } from '../lib/assert.js';
import { isAligned, PAGE_SIZE } from '../lib/units.js';
import { systemCallError } from './system-call-error.js';
import type { WindowRequest } from './window.js';

/** What mmap-io exports at run time; its typings claim that this is its `default` member. */
interface MmapIo {
  map(length: number, protection: number, flags: number, fd: number, offset: number): Buffer;
  readonly PROT_READ: number;
  readonly PROT_WRITE: number;
  readonly MAP_SHARED: number;
}

const loaded: unknown = mmapIo;
assert(isMmapIo(loaded), 'the default import of mmap-io is its functions');
const native = loaded;

/**
 * Where the windows of mmap-io must end. It casts sizes and offsets to a signed 32-bit int:
 * a size past that fails, and an offset of 4 GiB silently maps offset 0.
 */
export const MMAP_IO_END_MAX = 2 ** 31 - PAGE_SIZE;

/**
 * Maps one window through mmap-io. The window is unmapped when the Buffer and every view of
 * it have been collected; there is no other way.
 *
 * @throws DaxdError with the errno of mmap(2): ENOMEM, EACCES, ENODEV and so on.
 */
export function mapThroughMmapIo({ path, fd, offset, length, readOnly }: WindowRequest): Buffer {
  assert(length > 0 && Number.isInteger(length), 'a window has at least one byte');
  assert(offset >= 0 && isAligned(offset, PAGE_SIZE), 'a window starts on a page');
  assert(offset + length <= MMAP_IO_END_MAX, 'mmap-io maps nothing that ends at 2 GiB or later');
  const protection = readOnly ? native.PROT_READ : native.PROT_READ | native.PROT_WRITE;
  try {
    return native.map(length, protection, native.MAP_SHARED, fd, offset);
  } catch (cause) {
    // The errno is a number within the text, "mmap failed, 12", and nowhere else.
    const number = cause instanceof Error ? /^mmap failed, (\d+)$/.exec(cause.message) : null;
    if (number === null) throw cause;
    throw systemCallError('mmap', `${path}, ${length} bytes at ${offset}`, Number(number[1]));
  }
}

function isMmapIo(value: unknown): value is MmapIo {
  return typeof value === 'object' && value !== null && 'map' in value && 'MAP_SHARED' in value;
}
