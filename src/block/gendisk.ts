import { randomUUID } from 'node:crypto';

import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import { MIB, PAGE_SIZE, SECTOR_SIZE } from '../lib/units.js';
import type { BackingRange } from '../media/backing-range.js';
import { type Claim, type ClaimMode, Claims } from './claims.js';
import { findSpace } from './free-space.js';
import { checkLabel, type GptEntry, LINUX_FILESYSTEM_TYPE } from './gpt-entry.js';
import { Partition } from './partition.js';
import { createPartitionTable, scanPartitionTable, type TableScan } from './partition-table.js';
import { repairAdvice } from './repair-advice.js';
import { RequestQueue } from './request-queue.js';
import { lyingAtEnds, recogniseSignature } from './signature.js';

/** How much at each end of a disk must be zero before a table is laid over it. */
const BLANK_BYTES = MIB;

/** What a disk is made from. */
export interface GendiskOptions {
  readonly name: string;
  /** The data area of the namespace: its byte 0 is the disk's. */
  readonly range: BackingRange;
  readonly queue: RequestQueue;
  readonly log: Logger;
}

/** What a new partition should be. */
export interface NewPartition {
  /** A multiple of 4096; the largest free stretch when left out. */
  readonly sizeBytes?: number;
  /** At most 36 UTF-16 units. */
  readonly label: string;
}

/**
 * A disk and its partitions. Edits of the table run one at a time, in the order asked.
 *
 * @kernel struct gendisk (linux/genhd.h), device_add_disk, del_gendisk (block/genhd.c)
 */
export class Gendisk {
  readonly name: string;
  readonly logicalBlockSize = SECTOR_SIZE;
  readonly range: BackingRange;
  readonly queue: RequestQueue;
  readonly #log: Logger;
  readonly #claims: Claims;
  #scan: TableScan = { kind: 'none' };
  #partitions: readonly Partition[] = [];
  #wholeDisk: Partition | undefined;
  #deleted = false;
  /** Settles when the last edit asked for has ended. */
  #lastEdit: Promise<void> = Promise.resolve();

  constructor(options: GendiskOptions) {
    assert(options.range.start % PAGE_SIZE === 0, 'a disk starts on a page of its backing');
    this.name = options.name;
    this.range = options.range;
    this.queue = options.queue;
    this.#log = options.log;
    this.#claims = new Claims(options.name);
  }

  /** Capacity in bytes: whole sectors. */
  get sizeBytes(): number {
    return this.range.length;
  }

  /** Backing offset of byte 0 of the disk. */
  get dataOffset(): number {
    return this.range.start;
  }

  /** In order of number. */
  get partitions(): readonly Partition[] {
    return this.#partitions;
  }

  /** Whoever has claimed the whole disk; undefined while nobody has. */
  get holder(): string | undefined {
    return this.#claims.diskHolder;
  }

  /** Whoever has the whole disk alone; undefined where it can be shared. */
  get exclusiveHolder(): string | undefined {
    return this.#claims.exclusiveHolder(this.name);
  }

  /** Whoever has claimed a partition, and which; undefined while nobody has. */
  get partitionHolder(): string | undefined {
    return this.#claims.partitionHolder;
  }

  /** The disk itself, where a filesystem lies directly on it; its number is 0. */
  get wholeDisk(): Partition | undefined {
    return this.#wholeDisk;
  }

  /**
   * The partition called `name`, or the whole disk under its own name.
   *
   * @throws DaxdError ENOENT.
   */
  partition(name: string): Partition {
    const found = [...this.#partitions, this.#wholeDisk].find((p) => p?.name === name);
    if (found !== undefined) return found;
    const names = ['there is', ...this.#partitions.map((p) => p.name)].join(' ');
    throw new DaxdError(
      'ENOENT',
      `no partition "${name}": ${this.#partitions.length > 0 ? names : `${this.name} has none`}`,
    );
  }

  /**
   * Takes the whole disk for one user, or for one more of those who share it, against every
   * partition.
   *
   * @throws DaxdError EBUSY naming the holder in the way; ENODEV after `del`.
   */
  claim(holder: string, mode: ClaimMode = 'exclusive'): Claim {
    this.#refuseDeleted();
    return this.#claims.claimDisk(holder, mode);
  }

  /**
   * Reads the table anew. A table that is there but unusable is a warning and no partitions.
   *
   * @throws DaxdError EIO when the media cannot be read; the partitions are then as before, and
   * nothing is written until a table is read that can be used.
   * @kernel rescan_partitions, disk_scan_partitions (block/partitions/core.c)
   */
  scanPartitions(): void {
    this.#refuseDeleted();
    const scan = this.#readTable();
    if (scan.kind === 'unusable') {
      const fields = { disk: this.name, code: 'EUCLEAN', reason: scan.reason };
      this.#log.warn(
        fields,
        `partition table unusable: no partitions, nothing is written; ${repairAdvice(this.range)}`,
      );
    }
    const isBareFilesystem =
      scan.kind !== 'gpt' && recogniseSignature(this.range)?.kind === 'filesystem';
    this.#scan = scan;
    this.#adopt(scan.kind === 'gpt' ? scan.table.entries() : []);
    if (this.#wholeDisk !== undefined) this.#wholeDisk.markGone();
    this.#wholeDisk = isBareFilesystem ? this.#makeWholeDisk() : undefined;
  }

  /**
   * Adds a partition of the Linux filesystem type, first laying a table over a blank disk;
   * settles when it is durable.
   *
   * @throws DaxdError EINVAL for a label or size that does not fit, ENOSPC when there is no
   * room or no slot, EBUSY while the disk is claimed, EEXIST when there is no table but something
   * else at the ends of the disk, EUCLEAN when the table is damaged, EROFS.
   */
  async addPartition({ sizeBytes, label }: NewPartition): Promise<Partition> {
    checkLabel(label);
    return this.#edit(async () => {
      if (this.#scan.kind !== 'gpt') await this.#createTable();
      assert(this.#scan.kind === 'gpt', 'a disk has a table once it was created');
      const table = this.#scan.table;
      const number = this.#freeNumber(table.slots);
      const space = {
        dataOffset: this.dataOffset,
        firstByte: table.firstUsableLba * SECTOR_SIZE,
        endByte: (table.lastUsableLba + 1) * SECTOR_SIZE,
        taken: this.#partitions,
      };
      const found = findSpace(space, sizeBytes);
      // A client of the whole disk that comes and goes meanwhile has the table read anew: what
      // is being edited would not be the table any more, and the next edit would undo this one.
      const claim = this.#claims.claimPartition(this.#nameOf(number), 'partition create');
      try {
        await table.add({
          number,
          type: LINUX_FILESYSTEM_TYPE,
          uuid: randomUUID(),
          label,
          firstLba: found.startBytes / SECTOR_SIZE,
          lastLba: (found.startBytes + found.sizeBytes) / SECTOR_SIZE - 1,
        });
        this.#adopt(table.entries());
      } finally {
        claim.release();
      }
      return this.partition(this.#nameOf(number));
    });
  }

  /**
   * Deletes a partition and keeps the numbers and objects of the others; settles when it is
   * durable. What lies in the partition is not touched.
   *
   * @throws DaxdError ENOENT, EBUSY while it or the disk is claimed, EROFS, EUCLEAN when the
   * disk holds a table that cannot be used since; EINVAL for the whole disk.
   */
  async deletePartition(name: string): Promise<void> {
    await this.#edit(async () => {
      const partition = this.partition(name);
      if (partition.number === 0) {
        throw new DaxdError('EINVAL', `${name} is the whole disk, no partition of a table`);
      }
      this.#refuseUnusable();
      assert(this.#scan.kind === 'gpt', 'a partition with a number is one of a table');
      const claim = partition.claim('partition delete');
      try {
        await this.#scan.table.remove(partition.number);
        this.#adopt(this.#scan.table.entries());
      } finally {
        claim.release();
      }
    });
  }

  /** Refuses every claim, scan and edit from now on. @kernel del_gendisk (block/genhd.c) */
  del(): void {
    this.#deleted = true;
    for (const partition of this.#partitions) partition.markGone();
    this.#wholeDisk?.markGone();
  }

  /** Runs `work` after every edit asked for before it, with the disk free to be written. */
  async #edit<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#lastEdit.then(() => {
      this.#refuseDeleted();
      this.#claims.refuseDiskHeld();
      if (this.range.readOnly) {
        throw new DaxdError('EROFS', `${this.name} is read-only: attach it without --read-only`);
      }
      return work();
    });
    // The caller gets a failure from `run`; the edits behind it run all the same.
    this.#lastEdit = run.then(ignore, ignore);
    return run;
  }

  /** Where the media cannot be read, the old table must not be written over what is there. */
  #readTable(): TableScan {
    try {
      return scanPartitionTable(this.range, this.#log);
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      this.#scan = { kind: 'unusable', reason: `a table that cannot be read (${error.message})` };
      throw error;
    }
  }

  /** Lays an empty GPT over a disk that holds none. */
  async #createTable(): Promise<void> {
    this.#refuseUnusable();
    const lying = lyingAtEnds(this.range, BLANK_BYTES);
    if (lying !== undefined) {
      throw new DaxdError(
        'EEXIST',
        `${this.name} is not blank: it holds ${lying.what} at byte ${lying.offset}; clear it first`,
      );
    }
    const claim = this.#claims.claimDisk('partition table create');
    try {
      this.#scan = { kind: 'gpt', table: await createPartitionTable(this.range) };
    } finally {
      claim.release();
    }
  }

  /** Takes over the entries of the table; a partition that is still the same keeps its object. */
  #adopt(entries: readonly GptEntry[]): void {
    const gone = new Map(this.#partitions.map((partition) => [partition.number, partition]));
    this.#partitions = entries.map((entry) => {
      const made = this.#makePartition(entry);
      const known = gone.get(made.number);
      if (known === undefined || !known.isLike(made)) return made;
      gone.delete(made.number);
      return known;
    });
    for (const partition of gone.values()) partition.markGone();
  }

  #makePartition(entry: GptEntry): Partition {
    const startBytes = entry.firstLba * SECTOR_SIZE;
    const sizeBytes = (entry.lastLba + 1) * SECTOR_SIZE - startBytes;
    return new Partition({
      name: this.#nameOf(entry.number),
      number: entry.number,
      label: entry.label,
      uuid: entry.uuid,
      type: entry.type,
      startBytes,
      range: this.range.slice(startBytes, sizeBytes),
      claims: this.#claims,
    });
  }

  #makeWholeDisk(): Partition {
    const { name, range } = this;
    const none = { label: '', uuid: '', type: '' };
    return new Partition({ name, number: 0, ...none, startBytes: 0, range, claims: this.#claims });
  }

  #nameOf(number: number): string {
    return `${this.name}p${number}`;
  }

  #freeNumber(slots: number): number {
    const taken = new Set(this.#partitions.map((p) => p.number));
    for (let number = 1; number <= slots; number++) if (!taken.has(number)) return number;
    throw new DaxdError('ENOSPC', `all ${slots} entries of the table are used: delete one first`);
  }

  #refuseUnusable(): void {
    if (this.#scan.kind !== 'unusable') return;
    throw new DaxdError(
      'EUCLEAN',
      `${this.name} holds ${this.#scan.reason}: clear it, or ${repairAdvice(this.range)}`,
    );
  }

  #refuseDeleted(): void {
    if (this.#deleted) throw new DaxdError('ENODEV', `${this.name} was detached`);
  }
}

function ignore(): void {
  // Only the end of an edit matters to the next one.
}
