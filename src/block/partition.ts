import { DaxdError } from '../lib/errno.js';
import type { BackingRange } from '../media/backing-range.js';
import type { Claim, ClaimMode, Claims } from './claims.js';

/** What a partition is made from. */
export interface PartitionOptions {
  /** As the kernel names it: `pmem0p1`, or `pmem0` for the whole disk. */
  readonly name: string;
  /** Slot of the table, from 1; 0 for the whole disk. */
  readonly number: number;
  /** Name in the table, at most 36 UTF-16 units; empty for the whole disk. */
  readonly label: string;
  /** Unique GUID in lower case; empty for the whole disk. */
  readonly uuid: string;
  /** Type GUID in lower case; empty for the whole disk. */
  readonly type: string;
  /** Byte offset within the disk. */
  readonly startBytes: number;
  readonly range: BackingRange;
  readonly claims: Claims;
}

/**
 * One partition of a disk, or the whole disk (number 0) where a filesystem lies on it
 * without a table. The object stays the same for as long as the partition exists.
 *
 * @kernel struct hd_struct, later struct block_device (linux/genhd.h)
 */
export class Partition {
  readonly name: string;
  readonly number: number;
  readonly label: string;
  readonly uuid: string;
  readonly type: string;
  readonly startBytes: number;
  readonly range: BackingRange;
  readonly #claims: Claims;
  #gone = false;

  constructor(options: PartitionOptions) {
    this.name = options.name;
    this.number = options.number;
    this.label = options.label;
    this.uuid = options.uuid;
    this.type = options.type;
    this.startBytes = options.startBytes;
    this.range = options.range;
    this.#claims = options.claims;
  }

  get sizeBytes(): number {
    return this.range.length;
  }

  /** Whoever keeps others from claiming this: its own holder, or that of the whole disk. */
  get holder(): string | undefined {
    return this.#claims.diskHolder ?? this.#claims.holder(this.name);
  }

  /** Whoever has this, or the whole disk, alone; undefined where it can be shared. */
  get exclusiveHolder(): string | undefined {
    const claims = this.#claims;
    return claims.exclusiveHolder(claims.diskName) ?? claims.exclusiveHolder(this.name);
  }

  /**
   * Takes the partition for one user, or for one more of those who share it; number 0 takes
   * the whole disk.
   *
   * @throws DaxdError EBUSY naming the holder in the way; ENODEV once the partition was
   * deleted or its disk removed.
   */
  claim(holder: string, mode: ClaimMode = 'exclusive'): Claim {
    if (this.#gone) {
      throw new DaxdError('ENODEV', `${this.name} is gone: list the partitions again`);
    }
    return this.number === 0
      ? this.#claims.claimDisk(holder, mode)
      : this.#claims.claimPartition(this.name, holder, mode);
  }

  /** Whether another one was made of the same entry: the table is as it was there. */
  isLike(other: Partition): boolean {
    return (
      this.number === other.number &&
      this.uuid === other.uuid &&
      this.type === other.type &&
      this.label === other.label &&
      this.startBytes === other.startBytes &&
      this.sizeBytes === other.sizeBytes
    );
  }

  /** Refuses every claim from now on. Called by the disk. */
  markGone(): void {
    this.#gone = true;
  }
}
