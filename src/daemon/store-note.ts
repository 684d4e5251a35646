import { existsSync } from 'node:fs';

import type { LeaseStore } from '../lease/lease-store.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import type { Backing } from '../media/backing.js';

/** Where the leases of a backing are kept, as the backing itself says. */
interface Noted {
  readonly id: string;
  readonly directory: string;
}

/**
 * The note on a backing that names the store of its leases. The default place of a store goes
 * by the path of the backing, which `mv`, a hard link or a bind mount change: another start
 * there would find an empty store, and free what the leases of the first one pin.
 */
export class StoreNote {
  readonly #backing: Backing;
  readonly #directory: string;
  readonly #log: Logger;

  /** @param directory where the store is, or is to be */
  constructor(backing: Backing, directory: string, log: Logger) {
    this.#backing = backing;
    this.#directory = directory;
    this.#log = log;
  }

  /**
   * Checks that a store may be made in the directory. Where the one that the note names is gone with
   * its directory, it was moved away by hand, which is how one is given up; a directory that is there
   * and empty may be one that is not mounted yet.
   *
   * @throws DaxdError EBUSY where another store keeps leases of this backing, or the one that did is
   *   not there; EIO.
   */
  checkNew(): void {
    const noted = this.#read();
    if (noted === undefined) return;
    const directory = this.#directory;
    if (noted.directory !== directory) throw keptElsewhere(this.#backing, noted, directory);
    if (existsSync(directory)) throw lost(this.#backing, noted);
    this.#log.warn({ directory }, 'a new store in the place of one that is gone, and its leases');
    this.#backing.note?.remove();
  }

  /**
   * Checks that a store which is there is the one with the backing's leases.
   *
   * @throws DaxdError EBUSY where another one keeps them; EIO.
   */
  check({ id }: LeaseStore): void {
    const noted = this.#read();
    if (noted === undefined || noted.id === id) return;
    const directory = this.#directory;
    if (noted.directory !== directory) throw keptElsewhere(this.#backing, noted, directory);
    throw lost(this.#backing, noted);
  }

  /**
   * Names the store on the backing, once the store is durable. Where that cannot be, daxd starts
   * all the same: a full disk keeps nobody from his leases.
   *
   * @throws DaxdError EIO
   */
  write({ id }: LeaseStore): void {
    const { note, path } = this.#backing;
    const noted = this.#read();
    if (noted?.id === id && noted.directory === this.#directory) return;
    if (note?.write(`${id} ${this.#directory}`) !== false) return;
    this.#log.info(
      { path, directory: this.#directory },
      'no extended attribute could be kept: once the backing is moved, its leases are found with --state-dir alone',
    );
  }

  /**
   * Takes the name away from a backing of which no lease is kept. Where that cannot be it stays: it
   * names a store that is there.
   */
  drop({ isEmpty }: LeaseStore): void {
    if (!isEmpty) return;
    try {
      this.#backing.note?.remove();
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      this.#log.warn(
        { path: this.#backing.path, error },
        `the name of its store stays on the backing: ${error.message}`,
      );
    }
  }

  #read(): Noted | undefined {
    const [, id, directory] = /^(\S+) (\/.*)$/s.exec(this.#backing.note?.read() ?? '') ?? [];
    return id === undefined || directory === undefined ? undefined : { id, directory };
  }
}

function lost({ path }: Backing, { id, directory }: Noted): DaxdError {
  return new DaxdError(
    'EBUSY',
    `the leases of ${path} were kept in ${directory}, in a store that is not there (${id}): mount its ` +
      'filesystem, or bring it back from a copy; where it is lost, and you know that no holder does DMA ' +
      'any more, move the directory away',
  );
}

function keptElsewhere({ path, note }: Backing, noted: Noted, directory: string): DaxdError {
  return new DaxdError(
    'EBUSY',
    `the leases of ${path} are kept in ${noted.directory}, not in ${directory}. Give --state-dir ${noted.directory}, ` +
      `or move it to ${directory}; where it is lost, and you know that no holder does DMA any more, ` +
      `forget it: setfattr -x ${note?.name} ${path}`,
  );
}
