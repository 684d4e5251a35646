import koffi, { type LibraryHandle } from 'koffi';

import { DaxdError } from '../lib/errno.js';
import type { PersistView } from './persister.js';

/** The library's name for the dynamic loader; Debian's package libpmem1 has it. */
export const LIBPMEM = 'libpmem.so.1';

/**
 * Loads libpmem and returns its way to make stores durable: write the cache lines back, then
 * wait until the memory has them.
 *
 * `pmem_persist` is pmem_flush and pmem_drain in one call (libpmem(7)). They must not be two
 * calls: each could land on another thread of the pool, and the fence of a drain only orders
 * the flushes of its own processor.
 *
 * @param library what the dynamic loader is asked for; tests ask for one that is not there
 * @throws DaxdError EOPNOTSUPP when it cannot be loaded.
 */
export function loadLibpmem(library: string = LIBPMEM): PersistView {
  const persist: PmemPersistAsync = loadPmemPersist(library, 'const void *addr').async;
  return async (view) => {
    await new Promise<void>((resolve, reject) => {
      persist(view, view.length, (failure) => {
        if (failure === null) resolve();
        else reject(failure);
      });
    });
  };
}

type PmemPersistAsync = (
  ...args: [address: Buffer, length: number, done: (failure: Error | null) => void]
) => void;

/**
 * The same for a thread that may wait, which gives addresses instead of views.
 *
 * @throws DaxdError EOPNOTSUPP when libpmem cannot be loaded.
 */
export function loadPmemPersistSync(): (address: number, length: number) => void {
  return loadPmemPersist(LIBPMEM, 'uintptr_t addr');
}

/** @param address the first parameter, as a declaration in C */
function loadPmemPersist(library: string, address: string): ReturnType<LibraryHandle['func']> {
  try {
    return koffi.load(library).func(`void pmem_persist(${address}, size_t len)`);
  } catch (cause) {
    throw new DaxdError(
      'EOPNOTSUPP',
      `${library} cannot be loaded, and stores to a device-dax node are only durable through it: ` +
        'install Debian package libpmem1, or give --persistence none to go without durability',
      { cause },
    );
  }
}
