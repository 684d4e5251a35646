import { markAsUntransferable } from 'node:worker_threads';

import koffi from 'koffi';

import { assert } from '../lib/assert.js';
import { GIB, isAligned, PAGE_SIZE } from '../lib/units.js';
import { mapShared, munmap } from './mman.js';
import type { WindowRequest } from './window.js';

/**
 * Unmaps windows whose ArrayBuffer was collected. It lives as long as the module, since a
 * registry that is itself collected forgets its duties, and holds nothing but addresses.
 */
const unmapper = new FinalizationRegistry<{ address: number; length: number }>(
  ({ address, length }) => {
    munmap(address, length);
  },
);

/**
 * Maps one window through libc. As with mmap-io, it is unmapped when the Buffer and every
 * view of it have been collected, so a view cannot dangle.
 *
 * @throws DaxdError with the errno of mmap(2): ENOMEM, EACCES, ENODEV and so on.
 */
export function mapThroughLibc(request: WindowRequest): Buffer {
  const { path, offset, length } = request;
  // koffi ends the process when asked for a view that V8 cannot make, past 4 GiB.
  assert(length > 0 && length <= GIB, 'a window is at most 1 GiB long');
  assert(offset >= 0 && isAligned(offset, PAGE_SIZE), 'a window starts on a page');
  const address = mapShared(request, `${path}, ${length} bytes at ${offset}`);
  const memory = koffi.view(BigInt(address), length);
  unmapper.register(memory, { address, length });
  // A transfer to a worker would let this ArrayBuffer be collected under the worker's view.
  markAsUntransferable(memory);
  return Buffer.from(memory);
}
