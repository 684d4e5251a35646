import type { Claim } from '../block/claims.js';
import type { Gendisk } from '../block/gendisk.js';
import type { Partition } from '../block/partition.js';
import { assert } from '../lib/assert.js';
import { counted } from '../lib/counted.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import type { BackingRange } from '../media/backing-range.js';
import type { RawMemory } from '../media/raw-memory.js';
import type { DevPagemap } from '../mm/dev-pagemap.js';
import type { ExportInfo, OpenExport } from './export.js';
import type { MetaContext } from './meta-contexts.js';
import { NbdCounters } from './nbd-counters.js';

/** What the exports stand on. */
export interface ExportsOptions {
  readonly disk: Gendisk;
  /** The pages under the disk; undefined where it has none. */
  readonly pgmap: DevPagemap | undefined;
  readonly memory: RawMemory;
  readonly log: Logger;
  /** How many leases stand on the files of a partition; of a disk without a table under its name. */
  readonly fileLeases: (partition: string) => number;
}

/** Who the claims of exports belong to, for those who find them in the way. */
const HOLDER = 'NBD clients';

/** What can be exported: the whole disk, or a partition. */
interface Candidate {
  readonly name: string;
  readonly range: BackingRange;
  readonly description: string;
  claim(): Claim;
}

/** An export with clients, and the claim that they share. */
interface Opened {
  readonly range: BackingRange;
  readonly claim: Claim;
  clients: number;
}

/**
 * What block clients can open: each partition that nobody has for himself, and the whole disk
 * while nobody has any part of it. The clients of one export share its claim: a partition
 * with clients cannot be mounted, nor a mounted one opened; clients of the disk and of its
 * partitions keep each other out.
 *
 * Files are lent while they are mounted, so nothing that is open gains such leases. Once nobody
 * has it mounted, after a restart, what pins their blocks is known to daxd alone: a client's
 * e2fsck or mount would free them. Such a partition is nobody's, nor is its disk.
 */
export class Exports {
  readonly #options: ExportsOptions;
  readonly #open = new Map<string, Opened>();
  /** Exports that nobody is to open, one entry for each who says so. */
  readonly #refused = new Set<{ readonly name: string }>();
  /** Of every export that was ever opened; a name counts on when it is opened again. */
  readonly #counters = new Map<string, NbdCounters>();

  constructor(options: ExportsOptions) {
    this.#options = options;
  }

  /** What is counted of ended connections, by export. */
  get counters(): ReadonlyMap<string, NbdCounters> {
    return this.#counters;
  }

  /** Whole disk first, then the partitions in order of number. */
  list(): ExportInfo[] {
    return this.#candidates().map((candidate) => this.#infoOf(candidate));
  }

  /** How many connections have an export open. */
  clients(name: string): number {
    return this.#open.get(name)?.clients ?? 0;
  }

  /**
   * What a name stands for; the empty one for the whole disk, else for the only partition.
   *
   * @throws DaxdError ENOENT; EBUSY naming who has it for himself.
   */
  describe(name: string): ExportInfo {
    return this.#infoOf(this.#find(name));
  }

  /** The part of the backing that an export with clients is. */
  openRange(name: string): BackingRange {
    const opened = this.#open.get(name);
    assert(opened !== undefined, 'only what is open has clients');
    return opened.range;
  }

  /**
   * Takes an export for one connection; {@link close} gives it back.
   *
   * @throws DaxdError ENOENT; EBUSY naming who is in the way; ENODEV once it was detached.
   */
  open(name: string): OpenExport {
    const candidate = this.#find(name);
    const { pgmap, memory } = this.#options;
    const opened = this.#open.get(candidate.name) ?? openedOf(candidate);
    opened.clients++;
    this.#open.set(candidate.name, opened);
    if (!this.#counters.has(candidate.name)) this.#counters.set(candidate.name, new NbdCounters());
    return {
      info: this.#infoOf(candidate),
      memory,
      start: candidate.range.start,
      pages: pgmap?.refs.shared,
    };
  }

  /**
   * Lets nobody open an export, nor the whole disk, which would be in the way as much. Who has it
   * open keeps it.
   *
   * @returns what ends that.
   */
  refuse(name: string): () => void {
    const entry = { name };
    this.#refused.add(entry);
    return () => {
      this.#refused.delete(entry);
    };
  }

  /** Gives back what one connection had open, and takes over what it counted. */
  close(name: string, counters: NbdCounters): void {
    const opened = this.#open.get(name);
    assert(opened !== undefined, 'an export is closed once for each time it was opened');
    this.#counters.get(name)?.absorb(counters);
    opened.clients--;
    if (opened.clients > 0) return;
    this.#open.delete(name);
    opened.claim.release();
    if (name === this.#options.disk.name) this.#rescan();
  }

  /**
   * Whoever had the whole disk may have laid another table, and made holes of all of it. A
   * backing that shrank meanwhile has none to be taken, whatever part is left.
   */
  #rescan(): void {
    const { disk, log } = this.#options;
    try {
      disk.range.backing.checkSize();
      disk.scanPartitions();
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      if (error.code === 'ENODEV') return;
      log.warn(
        { disk: disk.name, code: error.code },
        `the partition table that NBD clients left is not taken: ${error.message}`,
      );
    }
  }

  #find(name: string): Candidate {
    const candidates = this.#candidates();
    const found =
      name === '' ? defaultOf(candidates, this.#options.disk) : byName(candidates, name);
    if (found !== undefined) return found;
    const inUse = this.#inUse(name);
    if (inUse !== undefined) throw new DaxdError('EBUSY', inUse);
    const known = candidates.map((one) => one.name).join(', ');
    throw new DaxdError(
      'ENOENT',
      `no export "${name}": ${known === '' ? 'there is none now' : `there is ${known}`}`,
    );
  }

  /** Why a name that exists is no export now. */
  #inUse(name: string): string | undefined {
    const { disk } = this.#options;
    const isDisk = name === disk.name;
    const refused = [...this.#refused].find((one) => isDisk || one.name === name);
    if (refused !== undefined) return `${refused.name} is being deleted: wait until it is gone`;
    if (!isDisk && !disk.partitions.some((one) => one.name === name)) return undefined;
    const holder = isDisk
      ? (disk.exclusiveHolder ?? disk.partitionHolder ?? this.#leasesOnDisk() ?? disk.holder)
      : this.#partitionHolder(disk.partition(name));
    return `${name} is in use by ${holder ?? 'nobody now'}: end that use first`;
  }

  /** Who is in the way comes before those who would share it. */
  #partitionHolder({ name, exclusiveHolder, holder }: Partition): string | undefined {
    return exclusiveHolder ?? this.#leasesOn(name) ?? holder;
  }

  #leasesOn(name: string): string | undefined {
    const count = this.#options.fileLeases(name);
    if (count === 0) return undefined;
    return `${counted(count, 'lease')} of files of ${name} (GET /v1/leases?partition=${name})`;
  }

  /** Of the first partition that has some. */
  #leasesOnDisk(): string | undefined {
    const { disk } = this.#options;
    for (const name of [disk.name, ...disk.partitions.map((one) => one.name)]) {
      const leases = this.#leasesOn(name);
      if (leases !== undefined) return leases;
    }
    return undefined;
  }

  /** What a connection could open now. */
  #candidates(): Candidate[] {
    const { disk } = this.#options;
    const isDiskFree =
      this.#refused.size === 0 &&
      disk.exclusiveHolder === undefined &&
      disk.partitionHolder === undefined &&
      this.#leasesOnDisk() === undefined;
    const partitions = disk.partitions.filter(
      (one) =>
        one.exclusiveHolder === undefined &&
        disk.holder === undefined &&
        this.#options.fileLeases(one.name) === 0 &&
        ![...this.#refused].some(({ name }) => name === one.name),
    );
    return [...(isDiskFree ? [wholeDisk(disk)] : []), ...partitions.map(ofPartition)];
  }

  #infoOf({ name, range, description }: Candidate): ExportInfo {
    const contexts: MetaContext[] = ['base:allocation'];
    if (this.#options.pgmap !== undefined) contexts.push('daxd:lease');
    const { length: sizeBytes, readOnly } = range;
    return { name, description, sizeBytes, readOnly, contexts };
  }
}

function openedOf(candidate: Candidate): Opened {
  return { range: candidate.range, claim: candidate.claim(), clients: 0 };
}

function byName(candidates: readonly Candidate[], name: string): Candidate | undefined {
  return candidates.find((one) => one.name === name);
}

function defaultOf(candidates: readonly Candidate[], disk: Gendisk): Candidate | undefined {
  return byName(candidates, disk.name) ?? (candidates.length === 1 ? candidates[0] : undefined);
}

function wholeDisk(disk: Gendisk): Candidate {
  const { name, range, sizeBytes } = disk;
  const description = `whole disk, ${sizeBytes} bytes`;
  return { name, range, description, claim: () => disk.claim(HOLDER, 'shared') };
}

function ofPartition(partition: Partition): Candidate {
  const { name, range, label, sizeBytes } = partition;
  const description = `label "${label}", ${sizeBytes} bytes`;
  return { name, range, description, claim: () => partition.claim(HOLDER, 'shared') };
}
