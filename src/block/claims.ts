import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';

/** The right to be the only user of a disk or a partition, until released. */
export interface Claim {
  readonly holder: string;
  /** Gives the claim back; again does nothing. */
  release(): void;
}

/**
 * Who uses a disk or its partitions alone: the whole disk excludes every partition, and
 * any partition excludes the whole disk.
 *
 * @kernel bd_holder, bd_prepare_to_claim (fs/block_dev.c)
 */
export class Claims {
  readonly #diskName: string;
  #diskHolder: string | undefined;
  readonly #partitionHolders = new Map<string, string>();

  constructor(diskName: string) {
    this.#diskName = diskName;
  }

  /** Who holds the whole disk; undefined when nobody does. */
  get diskHolder(): string | undefined {
    return this.#diskHolder;
  }

  /** Who holds the partition `name`; undefined when nobody does. */
  partitionHolder(name: string): string | undefined {
    return this.#partitionHolders.get(name);
  }

  /** @throws DaxdError EBUSY that names the holder in the way. */
  claimDisk(holder: string): Claim {
    for (const [name, other] of this.#partitionHolders) refuseHeld(name, other);
    this.refuseDiskHeld();
    this.#diskHolder = holder;
    return claimOf(holder, () => {
      assert(this.#diskHolder === holder, 'a disk claim is released by its holder');
      this.#diskHolder = undefined;
    });
  }

  /** @throws DaxdError EBUSY that names the holder in the way. */
  claimPartition(name: string, holder: string): Claim {
    this.refuseDiskHeld();
    const other = this.#partitionHolders.get(name);
    if (other !== undefined) refuseHeld(name, other);
    this.#partitionHolders.set(name, holder);
    return claimOf(holder, () => {
      assert(this.#partitionHolders.delete(name), 'a partition claim is released once');
    });
  }

  /** @throws DaxdError EBUSY when somebody holds the whole disk. */
  refuseDiskHeld(): void {
    if (this.#diskHolder !== undefined) refuseHeld(this.#diskName, this.#diskHolder);
  }
}

function refuseHeld(name: string, holder: string): never {
  throw new DaxdError('EBUSY', `${name} is in use by ${holder}: end that use first`);
}

function claimOf(holder: string, release: () => void): Claim {
  let released = false;
  return {
    holder,
    release() {
      if (released) return;
      released = true;
      release();
    },
  };
}
