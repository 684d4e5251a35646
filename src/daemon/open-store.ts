import { realpathSync } from 'node:fs';
import { basename, join, resolve as resolvePath } from 'node:path';

import type { ServeConfig } from '../config/load.js';
import type { LeaseStore } from '../lease/lease-store.js';
import { LmdbStore } from '../lease/lmdb-store.js';
import type { Logger } from '../lib/logger.js';
import type { Attached } from './attach.js';

/** Opens what keeps the leases; on a failure the device is detached again. */
export async function openStore(
  config: Pick<ServeConfig, 'rememberedLeases' | 'stateDirectory'>,
  { backing, pmem }: Attached,
  log: Logger,
): Promise<LeaseStore> {
  // Under whatever name the backing is given: with another store its leases would be forgotten.
  const path = realpathSync(backing.path);
  const beside = backing.kind === 'file' ? path : join('daxd-data', basename(path));
  const directory = resolvePath(config.stateDirectory ?? `${beside}.leases`);
  try {
    const store = LmdbStore.open(directory, config.rememberedLeases);
    log.info({ directory }, 'leases are kept');
    return store;
  } catch (error) {
    await pmem.detach();
    throw error;
  }
}
