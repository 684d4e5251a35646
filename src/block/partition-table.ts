import { randomUUID } from 'node:crypto';

import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import { SECTOR_SIZE } from '../lib/units.js';
import type { BackingRange } from '../media/backing-range.js';
import {
  blankGptCopies,
  GPT_PRIMARY_LBA,
  type GptCopy,
  type GptDamage,
  readGptCopy,
  writeGptCopy,
} from './gpt-copy.js';
import {
  clearEntry,
  decodeEntries,
  encodeEntry,
  GPT_ENTRY_BYTES,
  type GptEntry,
} from './gpt-entry.js';
import { type GptPlace, gptPlaces, misplacement, placeUnder } from './gpt-places.js';
import { encodeProtectiveMbr, mbrKind } from './protective-mbr.js';
import { repairAdvice } from './repair-advice.js';

/** What the table area of a disk holds. */
export type TableScan =
  | { readonly kind: 'gpt'; readonly table: PartitionTable }
  /** No trace of a table. */
  | { readonly kind: 'none' }
  /** Something is there that cannot be used; nothing may be written over it. */
  | { readonly kind: 'unusable'; readonly reason: string };

/**
 * The GPT of one disk. Both copies on the media are rewritten by each edit, the one that
 * does not count first, so that a power cut at any store leaves one whole copy.
 */
export class PartitionTable {
  readonly #disk: BackingRange;
  #primary: GptCopy;
  #backup: GptCopy;
  /** Whether the entries were read from the backup, because the primary is damaged. */
  #fromBackup: boolean;

  constructor(disk: BackingRange, copies: readonly [GptCopy, GptCopy], fromBackup = false) {
    this.#disk = disk;
    [this.#primary, this.#backup] = copies;
    this.#fromBackup = fromBackup;
  }

  get diskUuid(): string {
    return this.#current.diskUuid;
  }

  get firstUsableLba(): number {
    return this.#current.firstUsableLba;
  }

  get lastUsableLba(): number {
    return this.#current.lastUsableLba;
  }

  /** Slots of the table, used or not. */
  get slots(): number {
    return this.#current.entries.length / GPT_ENTRY_BYTES;
  }

  /** The used slots in order of number. */
  entries(): GptEntry[] {
    return decodeEntries(this.#current.entries);
  }

  /**
   * Which entry lies outside the usable sectors or over a part of the table, or which two overlap;
   * undefined when each has its sectors for itself.
   */
  entryProblem(): string | undefined {
    const entries = this.entries();
    const places = gptPlaces(this.#primary, this.#backup);
    for (const entry of entries) {
      const problem = this.#outsideUsable(entry) ?? overPart(entry, places);
      if (problem !== undefined) return problem;
    }
    const byStart = entries.toSorted((a, b) => (a.firstLba < b.firstLba ? -1 : 1));
    for (const [i, entry] of byStart.entries()) {
      const before = byStart[i - 1];
      if (before !== undefined && before.lastLba >= entry.firstLba) return overlap(before, entry);
    }
    return undefined;
  }

  /** Adds `entry` to its empty slot; settles when both copies are durable. */
  async add(entry: GptEntry): Promise<void> {
    assert(entry.number >= 1 && entry.number <= this.slots, 'an entry has a slot of the table');
    assert(this.#outsideUsable(entry) === undefined, 'an entry lies among the usable sectors');
    await this.#edit((entries) => {
      encodeEntry(entries, entry);
    });
  }

  /** Empties the slot `number`; settles when both copies are durable. */
  async remove(number: number): Promise<void> {
    await this.#edit((entries) => {
      clearEntry(entries, number);
    });
  }

  get #current(): GptCopy {
    return this.#fromBackup ? this.#backup : this.#primary;
  }

  async #edit(change: (entries: Buffer) => void): Promise<void> {
    this.#refuseMisplaced();
    const { diskUuid, firstUsableLba, lastUsableLba } = this.#current;
    const entries = Buffer.from(this.#current.entries);
    change(entries);
    const common = { diskUuid, firstUsableLba, lastUsableLba, entries };
    // Each names the other where it is: what a header from elsewhere says may fit no field.
    const primary = { ...this.#primary, ...common, otherHeaderLba: this.#backup.headerLba };
    const backup = { ...this.#backup, ...common, otherHeaderLba: this.#primary.headerLba };
    const order = this.#fromBackup ? [primary, backup] : [backup, primary];
    for (const copy of order) await writeGptCopy(this.#disk, copy);
    this.#primary = primary;
    this.#backup = backup;
    this.#fromBackup = false;
  }

  /** A table from elsewhere may name places for itself where something else lies. */
  #refuseMisplaced(): void {
    const diskSectors = Math.floor(this.#disk.length / SECTOR_SIZE);
    const places = gptPlaces(this.#primary, this.#backup);
    const usable = { firstLba: this.firstUsableLba, endLba: this.lastUsableLba + 1 };
    const problem = misplacement(places, diskSectors, usable);
    if (problem === undefined) return;
    throw new DaxdError(
      'EUCLEAN',
      `the GPT has no room of its own for both copies of its ${this.slots} entries: ` +
        `${problem}; before editing ${repairAdvice(this.#disk)}`,
    );
  }

  #outsideUsable({ number, firstLba, lastLba }: GptEntry): string | undefined {
    const { firstUsableLba: first, lastUsableLba: last } = this.#current;
    if (firstLba >= first && lastLba <= last && firstLba <= lastLba) return undefined;
    return (
      `GPT entry ${number} spans sectors ${firstLba} to ${lastLba}, outside the usable ` +
      `${first} to ${last}`
    );
  }
}

/**
 * Finds the GPT of a disk. A damaged primary gives way to the backup with a warning, and is
 * left as it is until the next edit. A GPT without a protective MBR does not count, as in
 * the kernel. Entries that overlap, or lie where none may, make the whole table unusable: the
 * kernel takes them, but a page of two partitions could be freed in one and lent in the other.
 *
 * @throws DaxdError EIO when the media cannot be read.
 * @kernel find_valid_gpt (block/partitions/efi.c)
 */
export function scanPartitionTable(disk: BackingRange, log: Logger): TableScan {
  const diskSectors = Math.floor(disk.length / SECTOR_SIZE);
  if (diskSectors <= GPT_PRIMARY_LBA) return { kind: 'none' };

  const sector = Buffer.alloc(SECTOR_SIZE);
  disk.read(0, sector);
  const mbr = mbrKind(sector);
  const primary = readGptCopy(disk, GPT_PRIMARY_LBA);
  if (mbr !== 'protective') return scanWithoutMbr(mbr, primary);

  const backupLba = isDamage(primary) ? diskSectors - 1 : primary.otherHeaderLba;
  const backup = readGptCopy(disk, backupLba);
  if (isDamage(primary) && isDamage(backup)) {
    const reason = `both copies of the GPT are damaged (primary: ${primary.damage}; backup: ${backup.damage})`;
    return { kind: 'unusable', reason };
  }
  warnOfDamage(primary, backup, log);
  const table = tableFrom(disk, primary, backup);
  const problem = table.entryProblem();
  if (problem === undefined) return { kind: 'gpt', table };
  return { kind: 'unusable', reason: `a table that cannot be used (${problem})` };
}

/**
 * Lays an empty GPT over a disk that holds none: backup, primary, then the protective MBR,
 * without which neither counts. Settles when all three are durable.
 *
 * @throws DaxdError ENOSPC when the disk is too small for two tables and one sector between.
 */
export async function createPartitionTable(disk: BackingRange): Promise<PartitionTable> {
  const diskSectors = Math.floor(disk.length / SECTOR_SIZE);
  const copies = blankGptCopies(randomUUID(), diskSectors);
  const [primary, backup] = copies;
  if (primary.firstUsableLba > primary.lastUsableLba) {
    throw new DaxdError('ENOSPC', `a disk of ${disk.length} bytes has no room for a GPT`);
  }
  await writeGptCopy(disk, backup);
  await writeGptCopy(disk, primary);
  disk.backing.checkSize();
  disk.write(0, encodeProtectiveMbr(diskSectors));
  await disk.persist(0, SECTOR_SIZE);
  return new PartitionTable(disk, copies);
}

function scanWithoutMbr(mbr: 'none' | 'dos', primary: GptCopy | GptDamage): TableScan {
  if (!isDamage(primary))
    return {
      kind: 'unusable',
      reason: 'a GPT without its protective MBR, which the kernel would not read either',
    };
  if (mbr === 'dos')
    return { kind: 'unusable', reason: 'an MBR of another kind than the protective one of a GPT' };
  return { kind: 'none' };
}

function warnOfDamage(
  primary: GptCopy | GptDamage,
  backup: GptCopy | GptDamage,
  log: Logger,
): void {
  if (isDamage(primary)) {
    log.warn({ damage: primary.damage }, 'primary GPT damaged: using the backup');
  } else if (isDamage(backup)) {
    log.warn({ damage: backup.damage }, 'backup GPT damaged: the next edit rewrites it');
  } else if (!primary.entries.equals(backup.entries)) {
    log.warn({}, 'backup GPT differs from the primary, which counts: the next edit rewrites it');
  }
}

/** Pairs the copies; one that is damaged, or of another shape, is planned anew from the other. */
function tableFrom(
  disk: BackingRange,
  primary: GptCopy | GptDamage,
  backup: GptCopy | GptDamage,
): PartitionTable {
  if (isDamage(primary)) {
    assert(!isDamage(backup), 'one copy at least is whole');
    const headerLba = GPT_PRIMARY_LBA;
    const anew = { headerLba, tableLba: headerLba + 1, otherHeaderLba: backup.headerLba };
    return new PartitionTable(disk, [{ ...backup, ...anew }, backup], true);
  }
  if (!isDamage(backup) && backup.entries.length === primary.entries.length) {
    return new PartitionTable(disk, [primary, backup]);
  }
  const headerLba = primary.otherHeaderLba;
  const tableLba = headerLba - Math.ceil(primary.entries.length / SECTOR_SIZE);
  const anew = { headerLba, tableLba, otherHeaderLba: GPT_PRIMARY_LBA };
  return new PartitionTable(disk, [primary, { ...primary, ...anew }]);
}

function isDamage(copy: GptCopy | GptDamage): copy is GptDamage {
  return 'damage' in copy;
}

/**
 * The usable sectors may be said to begin at LBA 0 or to reach the last one: whoever stored to
 * such a partition would destroy the table.
 */
function overPart(
  { number, firstLba, lastLba }: GptEntry,
  places: readonly GptPlace[],
): string | undefined {
  const range = { firstLba, endLba: lastLba + 1 };
  const part = placeUnder(places, range);
  if (part === undefined) return undefined;
  return (
    `GPT entry ${number} spans sectors ${firstLba} to ${lastLba}, over the ${part.what} at LBA ` +
    `${part.firstLba}`
  );
}

function overlap(a: GptEntry, b: GptEntry): string {
  return (
    `GPT entries ${a.number} and ${b.number} overlap at sectors ${b.firstLba} to ` +
    `${Math.min(a.lastLba, b.lastLba)}`
  );
}
