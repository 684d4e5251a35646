import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';

/** The right to use a disk or a partition, until released. */
export interface Claim {
  readonly holder: string;
  /** Gives the claim back; again does nothing. */
  release(): void;
}

/**
 * `exclusive` keeps everybody else out, as a mount or a format must. `shared` keeps out those
 * who want it alone: raw leases and block clients of one partition get along.
 */
export type ClaimMode = 'exclusive' | 'shared';

/** Who holds one disk or partition: one alone, or any number who share it. */
interface Holding {
  readonly mode: ClaimMode;
  /** One entry a claim, oldest first. */
  readonly holders: string[];
}

/**
 * Who uses a disk or its partitions: the whole disk excludes every partition, and any
 * partition excludes the whole disk, whatever the mode.
 *
 * @kernel bd_holder, bd_prepare_to_claim (fs/block_dev.c)
 */
export class Claims {
  readonly diskName: string;
  readonly #holdings = new Map<string, Holding>();

  constructor(diskName: string) {
    this.diskName = diskName;
  }

  /** Who holds the whole disk; undefined when nobody does. */
  get diskHolder(): string | undefined {
    return this.holder(this.diskName);
  }

  /** Who holds the disk or partition `name`; undefined when nobody does. */
  holder(name: string): string | undefined {
    return this.#holdings.get(name)?.holders[0];
  }

  /** Who holds some partition, and which; undefined when nobody does. */
  get partitionHolder(): string | undefined {
    for (const [name, { holders }] of this.#holdings) {
      if (name !== this.diskName) return `${holders[0]} of ${name}`;
    }
    return undefined;
  }

  /** Who holds the disk or partition `name` alone; undefined where nobody does. */
  exclusiveHolder(name: string): string | undefined {
    return this.#holdings.get(name)?.mode === 'exclusive' ? this.holder(name) : undefined;
  }

  /** @throws DaxdError EBUSY that names the holder in the way. */
  claimDisk(holder: string, mode: ClaimMode = 'exclusive'): Claim {
    this.refusePartitionsHeld();
    return this.#claim(this.diskName, holder, mode);
  }

  /** @throws DaxdError EBUSY that names the holder in the way. */
  claimPartition(name: string, holder: string, mode: ClaimMode = 'exclusive'): Claim {
    this.refuseDiskHeld();
    return this.#claim(name, holder, mode);
  }

  /** @throws DaxdError EBUSY when somebody holds the whole disk. */
  refuseDiskHeld(): void {
    if (this.diskHolder !== undefined) refuseHeld(this.diskName, this.diskHolder);
  }

  /** @throws DaxdError EBUSY when somebody holds a partition. */
  refusePartitionsHeld(): void {
    for (const [name, holding] of this.#holdings) {
      if (name !== this.diskName) refuseHeld(name, namesOf(holding));
    }
  }

  #claim(name: string, holder: string, mode: ClaimMode): Claim {
    const held = this.#holdings.get(name);
    if (held !== undefined && (mode === 'exclusive' || held.mode === 'exclusive')) {
      refuseHeld(name, namesOf(held));
    }
    const holding = held ?? { mode, holders: [] };
    holding.holders.push(holder);
    this.#holdings.set(name, holding);
    return claimOf(holder, () => {
      const at = holding.holders.indexOf(holder);
      assert(at >= 0, 'a claim is released by its holder');
      holding.holders.splice(at, 1);
      if (holding.holders.length === 0) this.#holdings.delete(name);
    });
  }
}

function namesOf({ holders }: Holding): string {
  return [...new Set(holders)].join(', ');
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
