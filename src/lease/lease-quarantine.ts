import { Buckets } from '../lib/buckets.js';
import { counted } from '../lib/counted.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import type { Memremap } from '../mm/memremap.js';
import type { ByteRange } from '../lib/byte-range.js';
import { subtract } from './byte-ranges.js';
import type { HeldLeases } from './held-leases.js';
import { runsIn } from './holding.js';
import type { LeaseRecord, QuarantineCause } from './lease-record.js';
import { mountedTarget } from './lease-place.js';
import type { LeaseStore } from './lease-store.js';
import type { FilesystemTarget, LeaseTargets } from './lease-target.js';
import { hasEnded } from './lease-state.js';
import type { Lease } from './lease.js';
import { movedPages } from './moved-pages.js';
import {
  common,
  freeIdlePlaces,
  placesOf,
  quarantinedPlaces,
  unquarantined,
} from './quarantined-pages.js';

/** Blocks that a change moved out of a file because leases pin them. */
export interface DeferredMove {
  /** Id of the change. */
  readonly change: string;
  readonly op: string;
  readonly inode: number;
  /** In bytes of the partition. */
  readonly runs: readonly { readonly mediaOffset: number; readonly length: number }[];
}

/** What {@link LeaseQuarantine} stands on. */
export interface LeaseQuarantineOptions {
  readonly held: HeldLeases;
  readonly store: LeaseStore;
  readonly targets: LeaseTargets;
  readonly memremap: Memremap;
  readonly log: Logger;
  /** Told of each lease that goes into quarantine: it has no deadline any more. */
  readonly onQuarantine: (lease: Lease) => void;
}

/** A filesystem whose free blocks may be pinned. */
interface Refusing {
  /** Those that pin them. */
  readonly leases: Set<Lease>;
  readonly target: FilesystemTarget;
  readonly onAllowed: () => void;
}

/** Quarantined bytes of the backing that no lease speaks for. */
export interface UnknownPlace extends ByteRange {
  readonly partition: string;
}

/**
 * Leases whose pages are their files' no longer, and the blocks that the filesystem keeps for
 * them. On the media a move is one transaction with the change, so after a crash the file's
 * blocks say what is quarantined, and the store whose they are.
 */
export class LeaseQuarantine {
  readonly #options: LeaseQuarantineOptions;
  /** Leases that ended while their blocks could not be freed, by partition. */
  readonly #ended = new Buckets<string, LeaseRecord>();
  /** Those of them that are being freed: until they are, their blocks are not nobody's. */
  readonly #freeing = new Set<LeaseRecord>();
  /** By partition: those where leases' pages were not their files' any more at the mount. */
  readonly #refusing = new Map<string, Refusing>();
  readonly #unknown = new Map<string, readonly ByteRange[]>();

  constructor(options: LeaseQuarantineOptions) {
    this.#options = options;
  }

  /** What is quarantined without a lease that it is for. */
  get unknown(): readonly UnknownPlace[] {
    return [...this.#unknown].flatMap(([partition, places]) =>
      places.map((place) => ({ partition, ...place })),
    );
  }

  /** Takes note of a lease that ended, and whose blocks the store says are to be freed. */
  addEnded(record: LeaseRecord): void {
    this.#ended.add(record.terms.partition, record);
  }

  /**
   * Puts the leases over moved blocks into quarantine, durably, and frees blocks whose lease has
   * ended meanwhile. To be awaited by the change.
   */
  async deferred(partition: string, startBytes: number, move: DeferredMove): Promise<void> {
    const moved = move.runs
      .map(({ mediaOffset, length }) => ({ offset: startBytes + mediaOffset, length }))
      .toSorted((a, b) => a.offset - b.offset);
    const reason = `${move.op} ${move.change} went on without it`;
    const leases = [...this.#options.held.index.pinning(partition, move.inode)].filter(
      ({ runs }) => common(placesOf(runs), moved).length > 0,
    );
    for (const lease of leases) this.#put(lease, { reason, cause: 'deferred' });
    const target = mountedTarget(this.#options.targets, partition);
    if (target !== undefined && leases.length > 0) {
      this.#leaveFiles(leases, quarantinedPlaces(target));
    }
    await this.#commit(leases);
    await this.#freeUnclaimed(partition, moved);
  }

  /**
   * Looks whether the files of a partition that was just mounted still lie in the pages that
   * their leases pin, or those pages in the quarantine. Where not, the lease goes into
   * quarantine, durably. Then frees what ended leases left.
   *
   * @param onAllowed told once, where the filesystem must not change now, as soon as it may: what
   *   ended leases left is freed then.
   * @returns as {@link refusal}.
   */
  async verify(
    partition: string,
    target: FilesystemTarget,
    onAllowed: () => void,
  ): Promise<string | undefined> {
    const { held } = this.#options;
    const quarantined = quarantinedPlaces(target);
    const moved = movedPages(target, held.index.of(partition), quarantined);
    for (const { lease, reason, isKept } of moved) {
      this.#put(lease, isKept ? { reason, cause: 'deferred' } : { reason, cause: 'foreign' });
    }
    const here = [...held.quarantined].filter(({ terms }) => terms.partition === partition);
    this.#leaveFiles(here, quarantined);
    await this.#commit(moved.map(({ lease }) => lease));
    this.#findUnknown(partition, quarantined);
    const foreign = moved.filter(({ isKept, lease }) => !isKept && !hasEnded(lease.state));
    if (foreign.length > 0) {
      const leases = new Set(foreign.map(({ lease }) => lease));
      this.#refusing.set(partition, { leases, target, onAllowed });
      return this.refusal(partition);
    }
    this.#refusing.delete(partition);
    await this.#freeLeft(partition, target);
    return undefined;
  }

  /**
   * Why the filesystem of a partition must not change: its free blocks may be pinned, since somebody
   * else changed the files of leases that are held yet. Undefined when all is well.
   */
  refusal(partition: string): string | undefined {
    const leases = this.#refusing.get(partition)?.leases ?? new Set();
    const [first] = leases;
    if (first === undefined) return undefined;
    return `pages that left their files are pinned by ${counted(leases.size, 'lease')}, ${first.id} the first: ${first.quarantined?.reason}`;
  }

  /**
   * Takes note that a lease has ended. Where it was the last one that a filesystem refused changes
   * for, that goes on where its mount stopped: when this returns, whoever waited has been told.
   */
  async ended(lease: Lease): Promise<void> {
    const { partition } = lease.terms;
    const refusing = this.#refusing.get(partition);
    if (refusing?.leases.delete(lease) !== true || refusing.leases.size > 0) return;
    this.#refusing.delete(partition);
    this.#options.log.info({ partition }, 'no lease pins pages that left their files: it changes');
    refusing.onAllowed();
    this.#lookForUnknown(partition, refusing.target);
    await this.#freeLeft(partition, refusing.target);
  }

  /** Frees the blocks of a lease, or of a part of one, that ended, and then has the store forget it. */
  async free(record: LeaseRecord): Promise<void> {
    this.addEnded(record);
    const target = mountedTarget(this.#options.targets, record.terms.partition);
    if (target !== undefined) await this.#freeEnded(record, target);
  }

  /**
   * Frees quarantined blocks that nobody speaks for, on somebody's word.
   *
   * @throws DaxdError ENOENT when there are none, and what the filesystem says.
   */
  async attest(partition: string, offset: number): Promise<number> {
    const places = this.#unknown.get(partition) ?? [];
    const place = places.find((one) => one.offset === offset);
    const target = mountedTarget(this.#options.targets, partition);
    if (place === undefined || target === undefined) {
      throw new DaxdError('ENOENT', `nothing unknown is quarantined at ${offset} of ${partition}`);
    }
    const freed = await freeIdlePlaces(target, [place], this.#options.memremap);
    // What is pinned of it is there still, and others may have freed places meanwhile.
    this.#findUnknown(partition, quarantinedPlaces(target));
    return freed;
  }

  /** A lease that ended before its move was known has left nobody to free its blocks. */
  async #freeUnclaimed(partition: string, moved: readonly ByteRange[]): Promise<void> {
    const target = mountedTarget(this.#options.targets, partition);
    if (target === undefined) return;
    try {
      await freeIdlePlaces(target, moved, this.#options.memremap);
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      this.#options.log.warn({ partition, code: error.code }, `blocks not freed: ${error.message}`);
      this.#findUnknown(partition, quarantinedPlaces(target));
    }
  }

  /** Frees what leases left that ended before the filesystem could change. */
  async #freeLeft(partition: string, target: FilesystemTarget): Promise<void> {
    for (const record of this.#ended.of(partition)) await this.#freeEnded(record, target);
    if (this.#unknown.has(partition)) {
      this.#options.log.warn(
        { partition },
        'blocks are quarantined that no lease speaks for: attest to free them',
      );
    }
  }

  async #freeEnded(record: LeaseRecord, target: FilesystemTarget): Promise<void> {
    const { memremap, store, log } = this.#options;
    const { id, partition } = record.terms;
    // Where another call frees it, or has, the store is not to hear of its end twice.
    if (this.#freeing.has(record) || !this.#ended.of(partition).has(record)) return;
    this.#freeing.add(record);
    try {
      const freed = await freeIdlePlaces(
        target,
        placesOf(runsIn(record.terms, record.holding)),
        memremap,
      );
      await store.commit([{ kind: 'remove', id }]);
      this.#ended.delete(partition, record);
      log.info({ lease: id, partition, freed }, 'quarantined blocks freed');
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      log.warn({ lease: id, partition, code: error.code }, `blocks not freed: ${error.message}`);
    } finally {
      this.#freeing.delete(record);
    }
  }

  #put(lease: Lease, cause: QuarantineCause): void {
    if (hasEnded(lease.state)) return;
    const { quarantined } = lease;
    if (quarantined === undefined) {
      this.#options.onQuarantine(lease);
      this.#options.held.quarantine(lease, cause);
    } else if (quarantined.cause === 'revoked') {
      // Its pages are out of its file now.
      lease.quarantine({ ...cause, isRevoked: true });
    }
  }

  /** However many leases left a file for good, whoever asks what is in the way there meets none. */
  #leaveFiles(leases: readonly Lease[], quarantined: readonly ByteRange[]): void {
    for (const lease of leases) {
      const { hasLeftFile, runs, state } = lease;
      if (hasLeftFile || hasEnded(state) || lease.quarantined?.cause !== 'deferred') continue;
      if (unquarantined(placesOf(runs), quarantined).length > 0) continue;
      this.#options.held.leaveFile(lease);
    }
  }

  async #commit(leases: readonly Lease[]): Promise<void> {
    await Promise.all(leases.map((lease) => lease.inTurn(() => this.#keep(lease))));
  }

  /** A failure is logged: the media say the same at the next start. */
  async #keep(lease: Lease): Promise<void> {
    // Its release may have come first: what the store has forgotten stays forgotten.
    if (hasEnded(lease.state)) return;
    const { deadlineMs } = lease;
    try {
      await this.#options.store.commit([{ kind: 'put', record: lease.record(), deadlineMs }]);
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      this.#options.log.error({ lease: lease.id, code: error.code }, error.message);
    }
  }

  /** Of a lease that somebody else's change was over, a part may be quarantined. */
  #lookForUnknown(partition: string, target: FilesystemTarget): void {
    try {
      this.#findUnknown(partition, quarantinedPlaces(target));
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      this.#options.log.error({ partition, code: error.code }, error.message);
    }
  }

  #findUnknown(partition: string, quarantined: readonly ByteRange[]): void {
    let unknown = quarantined;
    for (const lease of this.#options.held.index.of(partition)) {
      if (lease.state === 'quarantined') unknown = subtract(unknown, placesOf(lease.runs));
    }
    for (const { terms, holding } of this.#ended.of(partition)) {
      unknown = subtract(unknown, placesOf(runsIn(terms, holding)));
    }
    if (unknown.length === 0) this.#unknown.delete(partition);
    else this.#unknown.set(partition, unknown);
  }
}
