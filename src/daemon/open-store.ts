import { accessSync, closeSync, constants, existsSync, realpathSync, rmdirSync } from 'node:fs';
import { basename, dirname, join, resolve as resolvePath } from 'node:path';

import type { ServeConfig } from '../config/load.js';
import type { LeaseStore } from '../lease/lease-store.js';
import { lockDirectory } from '../lease/lmdb/directory.js';
import { unwritable } from '../lease/lmdb/errors.js';
import { LmdbStore } from '../lease/lmdb/lmdb-store.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import type { Backing } from '../media/backing.js';
import type { Attached } from './attach.js';
import { StoreNote } from './store-note.js';

type StoreConfig = Pick<ServeConfig, 'rememberedLeases' | 'stateDirectory'>;

/** What keeps the leases, and the note on the backing that says so. */
export interface OpenStore {
  readonly store: LeaseStore;
  readonly storeNote: StoreNote;
}

/**
 * Checks a directory that `--state-dir` names, so that a wrong one is refused before the media are
 * written.
 *
 * @throws DaxdError EBUSY where another daemon has it, the errno of the system where it cannot be
 *   made or written.
 */
export function checkStateDirectory({ stateDirectory }: StoreConfig): void {
  if (stateDirectory === undefined) return;
  const directory = resolvePath(stateDirectory);
  const made = missingDirectories(directory);
  const lock = lockDirectory(directory);
  try {
    accessSync(directory, constants.W_OK);
  } catch (error) {
    throw unwritable(directory, error);
  } finally {
    // One that is gone says more than an empty one: see StoreNote.
    for (const one of made) rmdirSync(one);
    closeSync(lock);
  }
}

/** A directory and those above it that are not there, from the innermost. */
function missingDirectories(directory: string): string[] {
  if (existsSync(directory)) return [];
  return [directory, ...missingDirectories(dirname(directory))];
}

/**
 * Opens what keeps the leases of a device; on a failure the device is detached again.
 *
 * @throws DaxdError as {@link LmdbStore.open} and {@link StoreNote} do, and EBUSY where leases
 *   are kept and the device has no pages.
 */
export async function openStore(
  config: StoreConfig,
  { backing, pmem }: Attached,
  log: Logger,
): Promise<OpenStore> {
  try {
    const directory = directoryOf(config, backing);
    const storeNote = new StoreNote(backing, directory, log);
    // Refused before anything is made there, so that the right one can be moved to it.
    if (!LmdbStore.isIn(directory)) storeNote.checkNew();
    const store = LmdbStore.open(directory, config.rememberedLeases);
    await closedOnError(store, () => {
      storeNote.check(store);
      if (pmem.pgmap === undefined) refuseKept(store, directory);
    });
    log.info({ directory }, 'leases are kept');
    return { store, storeNote };
  } catch (error) {
    await pmem.detach();
    throw error;
  }
}

/** Beside the backing; a device has nothing beside it. */
function directoryOf({ stateDirectory }: StoreConfig, { path, kind }: Backing): string {
  if (stateDirectory !== undefined) return resolvePath(stateDirectory);
  // Under whatever name the backing is given: with another store its leases would be forgotten.
  const realPath = realpathSync(path);
  const beside = kind === 'file' ? realPath : join('daxd-data', basename(realPath));
  return resolvePath(`${beside}.leases`);
}

/** Whatever waits or is held there is of pages: without them nothing could be pinned again. */
function refuseKept(store: LeaseStore, directory: string): void {
  if (store.isEmpty) return;
  throw new DaxdError(
    'EBUSY',
    `leases or changes that wait for them are kept in ${directory}, and --force-raw attaches ` +
      'without pages to pin: start without it and have them released, or give another --state-dir',
  );
}

async function closedOnError(store: LeaseStore, check: () => void): Promise<void> {
  try {
    check();
  } catch (error) {
    await store.close();
    throw error;
  }
}
