import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { EventSink } from '../lib/event-ring.js';
import type { Logger } from '../lib/logger.js';
import type { SortableIds } from '../lib/sortable-id.js';
import type { Memremap } from '../mm/memremap.js';
import { coalesce, pagesCovering, subtract } from './byte-ranges.js';
import type { ByteRange } from './byte-ranges.js';
import { Deadlines } from './deadlines.js';
import { LeaseCounters } from './lease-counters.js';
import { leaseEventFields, leaseEventName } from './lease-events.js';
import { LeaseIndex } from './lease-index.js';
import type { LeaseFilter, LeasePage } from './lease-index.js';
import { findPlace, runsOf } from './lease-place.js';
import type { FilePlace, LeasePlace } from './lease-place.js';
import { checkByteRange, checkLeaseRequest } from './lease-request.js';
import type { LeaseRequest } from './lease-request.js';
import type { LeaseState } from './lease-state.js';
import type { LeaseTargets } from './lease-target.js';
import { Lease } from './lease.js';
import { LEASE_RANGES_MAX, LEASES_MAX, PREPARE_ATTEMPTS_MAX, TOMBSTONES_MAX } from './limits.js';
import { pinRuns, unpinPages, unpinRuns } from './page-runs.js';
import type { PageRun } from './page-runs.js';
import { ProcessWatch } from './process-watch.js';
import type { ProcessRef, ProcessTable } from './process-table.js';
import { RawClaims } from './raw-claims.js';
import { Tombstones } from './tombstones.js';

/** What {@link Leases} stand on. */
export interface LeasesOptions {
  readonly targets: LeaseTargets;
  readonly memremap: Memremap;
  readonly processes: ProcessTable;
  readonly clock: Clock;
  readonly ids: SortableIds;
  readonly log: Logger;
  /** Told of each change of a lease's state, and of partial releases. */
  readonly events: EventSink;
}

/** Why a lease ended, for the log. */
type ReleaseReason = 'asked for' | 'process gone' | 'shutdown';

/**
 * The leases of one daemon.
 *
 * Invariants:
 * - a page is pinned once for each held lease with a remaining byte on it (a read lease:
 *   where the file is not a hole there), and by nothing else here;
 * - leases never conflict with each other: only a pending layout change refuses one;
 * - every change of a lease is one synchronous step, so what the API shows, the pins and the
 *   indexes agree whenever anybody looks.
 */
export class Leases {
  readonly counters = new LeaseCounters();
  readonly #options: LeasesOptions;
  readonly #index = new LeaseIndex();
  readonly #tombstones = new Tombstones<Lease>(TOMBSTONES_MAX);
  readonly #rawClaims = new RawClaims();
  readonly #deadlines: Deadlines<Lease>;
  readonly #watch: ProcessWatch<Lease>;
  #draining = false;

  constructor(options: LeasesOptions) {
    const { clock, processes } = options;
    this.#options = options;
    this.#deadlines = new Deadlines(clock, (lease) => {
      this.#lapse(lease);
    });
    this.#watch = new ProcessWatch(processes, clock, (lease) => {
      this.#end(lease, 'process gone');
    });
  }

  /** How many leases are held. */
  get size(): number {
    return this.#index.size;
  }

  /** How many leases stand on a partition, on its files or on its raw bytes. */
  countOn(partition: string): number {
    return this.#index.countOn(partition);
  }

  /**
   * A lease by id; one released lately is there too, with state released.
   *
   * @throws DaxdError ENOENT
   */
  get(id: string): Lease {
    const lease = this.#index.get(id) ?? this.#tombstones.get(id);
    if (lease !== undefined) return lease;
    throw new DaxdError('ENOENT', `there is no lease ${id}: list the leases that are held`);
  }

  /** Held leases, ascending by id. @throws DaxdError EINVAL for a limit below 1. */
  list(filter: LeaseFilter): LeasePage {
    return this.#index.list(filter);
  }

  /**
   * Ids of the leases that pin a page holding a byte of [from, to), at most
   * HOLDERS_NAMED_MAX; `to` may be Infinity. Without `inode` those are raw leases, and the
   * bytes are the partition's.
   */
  overlapping(partition: string, inode: number | undefined, from: number, to: number): string[] {
    return this.#index.overlapping(partition, inode, from, to);
  }

  /**
   * Pins a range and answers with the lease. Waits only while a write lease has its holes
   * and unwritten extents turned into zeroed, written blocks; a request that fails or is
   * cancelled there leaves no pin, but may leave those blocks.
   *
   * @throws DaxdError EINVAL, ENOENT, EISDIR, EROFS, EFBIG, EOPNOTSUPP, EBUSY as the range and
   * its target demand (see {@link findPlace}); ESRCH when the named process is not seen;
   * ENXIO when the device is going; ENOSPC when LEASES_MAX are held, or the filesystem is
   * full; `recall-conflict` when a layout change is pending there; `cancelled`; `draining`.
   */
  async acquire(request: LeaseRequest, signal?: AbortSignal): Promise<Lease> {
    try {
      const holder = checkLeaseRequest(request);
      let prepared: FilePlace | undefined;
      for (let prepares = 0; ; prepares++) {
        // All of this is looked at anew after each wait: the file, its size, the process.
        this.#refuseUnfit(holder, signal);
        const place = findPlace(this.#options.targets, request);
        refuseRecalled(place, request);
        const isReady = request.access === 'read' || isPrepared(place, prepared);
        const runs = isReady ? runsOf(place, request.access) : undefined;
        if (runs !== undefined) return this.#grant(request, holder, place, runs);
        prepared = await prepare(place, request, prepares);
      }
    } catch (error) {
      this.counters.refused(error);
      this.#logRefusal(request, error);
      throw error;
    }
  }

  /**
   * Gives a lease its full ttl again, from now. A suspect lease becomes active: its pages
   * were pinned all the time.
   *
   * @throws DaxdError ENOENT for a released lease as for one never known, so that the answer
   * stays the same when the release is forgotten; `draining`.
   */
  renew(id: string): Lease {
    const lease = this.get(id);
    if (lease.state === 'released') {
      throw new DaxdError('ENOENT', `lease ${id} was released: ask for a new one`);
    }
    this.#refuseDraining();
    if (lease.state === 'suspect') this.#move(lease, 'active');
    this.#deadlines.set(lease, this.#options.clock.nowMs() + lease.terms.ttlMs);
    return lease;
  }

  /**
   * Ends a lease, or takes `ranges` out of it: a page is unpinned once no remaining byte of
   * the lease lies on it. Bytes that are released already, or never were lent, change
   * nothing; neither does the release of a released lease.
   *
   * @throws DaxdError ENOENT; EINVAL for a bad range, for more than LEASE_RANGES_MAX, and
   * where more than that many would be left.
   */
  release(id: string, ranges?: readonly ByteRange[]): Lease {
    const lease = this.get(id);
    if (ranges === undefined) {
      if (lease.state !== 'released') this.#end(lease, 'asked for');
      return lease;
    }
    checkReleaseRanges(ranges);
    if (lease.state === 'released') return lease;
    const rest = subtract(lease.ranges, coalesce(ranges));
    if (rest.length === 0) this.#end(lease, 'asked for');
    else this.#shrink(lease, rest);
    return lease;
  }

  /** Refuses new leases and renewals from now on; releases go on. */
  drain(): void {
    this.#draining = true;
  }

  /** Releases every lease: for a daemon that ends and whose holders were waited for. */
  releaseAll(): void {
    for (const lease of this.#index.all()) this.#end(lease, 'shutdown');
  }

  /** No await from {@link findPlace} to here, so what was checked still holds. */
  #grant(
    request: LeaseRequest,
    holder: ProcessRef | undefined,
    place: LeasePlace,
    runs: readonly PageRun[],
  ): Lease {
    const { ids, clock, log } = this.#options;
    const { partition, path, offset, length, access, ttlMs, client } = request;
    this.#pin(partition, place, runs);
    const id = ids.next();
    const inode = place.file?.inode;
    const backingPath = place.target.range.backing.path;
    const lease = new Lease(
      { id, partition, path, inode, offset, length, access, ttlMs, client, holder, backingPath },
      runs,
      clock,
    );
    this.#index.add(lease);
    this.#deadlines.set(lease, lease.deadlineMs);
    if (holder !== undefined) this.#watch.add(holder, lease);
    this.counters.requests.granted++;
    this.counters.entered(lease);
    this.#options.events.push('lease.granted', leaseEventFields(lease));
    log.info(
      { lease: id, partition, path, offset, length, access, ttlMs, client, holder },
      'lease granted',
    );
    return lease;
  }

  #pin(partition: string, { target }: LeasePlace, runs: readonly PageRun[]): void {
    if (target.kind === 'raw') this.#rawClaims.take(partition, target);
    try {
      pinRuns(this.#options.memremap, runs);
    } catch (error) {
      if (target.kind === 'raw') this.#rawClaims.drop(partition);
      throw error;
    }
  }

  #shrink(lease: Lease, rest: readonly ByteRange[]): void {
    if (rest.length > LEASE_RANGES_MAX) {
      throw new DaxdError(
        'EINVAL',
        `lease ${lease.id} would be left with ${rest.length} separate ranges, at most ${LEASE_RANGES_MAX} are kept: release neighbours together`,
      );
    }
    const { memremap, log } = this.#options;
    const freed = subtract(pagesCovering(lease.ranges), pagesCovering(rest));
    this.#index.repin(lease, () => {
      lease.keep(rest, unpinPages(memremap, lease.runs, freed));
    });
    this.#options.events.push('lease.shrunk', leaseEventFields(lease));
    log.info(
      { lease: lease.id, pages: lease.pages, ranges: rest.length },
      'lease released in part',
    );
  }

  #end(lease: Lease, reason: ReleaseReason): void {
    const { memremap, clock, log } = this.#options;
    const { partition, holder, path, client } = lease.terms;
    this.#index.delete(lease);
    this.#deadlines.delete(lease);
    if (holder !== undefined) this.#watch.delete(holder, lease);
    unpinRuns(memremap, lease.runs);
    if (lease.terms.inode === undefined) this.#rawClaims.drop(partition);
    lease.keep([], []);
    this.#move(lease, 'released', reason);
    this.#tombstones.add(lease);
    const heldMs = clock.nowMs() - lease.grantedMs;
    this.counters.holdSeconds.observe(heldMs / 1000);
    log.info(
      { lease: lease.id, partition, path, client, reason, heldMs: Math.round(heldMs) },
      'lease released',
    );
  }

  /** Expiry ends rights, it never frees pages: the holder may still have a device that writes. */
  #lapse(lease: Lease): void {
    this.#move(lease, 'suspect');
    const { partition, path, client, ttlMs } = lease.terms;
    this.#options.log.warn(
      { lease: lease.id, partition, path, client, ttlMs, pages: lease.pages },
      'lease lapsed: suspect, its pages stay pinned until it is released',
    );
  }

  #move(lease: Lease, to: LeaseState, reason?: ReleaseReason): void {
    const from = lease.state;
    lease.moveTo(to);
    this.counters.entered(lease, from);
    this.#options.events.push(leaseEventName(to), leaseEventFields(lease, reason));
  }

  #refuseUnfit(holder: ProcessRef | undefined, signal: AbortSignal | undefined): void {
    if (signal?.aborted === true) throw cancelled(signal);
    this.#refuseDraining();
    if (this.#index.size >= LEASES_MAX) {
      throw new DaxdError('ENOSPC', `${LEASES_MAX} leases are held, no more fit: release some`);
    }
    if (holder === undefined) return;
    const presence = this.#options.processes.presence(holder);
    if (presence === 'alive') return;
    throw new DaxdError(
      'ESRCH',
      `process ${holder.pid} with start time ${holder.startTicks} is ${presence} for daxd: name a pid and start time that daxd's own /proc shows, or none`,
    );
  }

  #refuseDraining(): void {
    if (this.#draining) {
      throw new DaxdError('draining', 'daxd is shutting down: leases can only be released');
    }
  }

  #logRefusal(request: LeaseRequest, error: unknown): void {
    const { ids, log } = this.#options;
    const { partition, path, offset, length, access, client } = request;
    const code = error instanceof DaxdError ? error.code : undefined;
    const detail = error instanceof Error ? error.message : String(error);
    // The id names the refused request in the log alone; no lease will ever have it.
    log.info(
      { lease: ids.next(), partition, path, offset, length, access, client, code, detail },
      'lease refused',
    );
  }
}

function cancelled(signal: AbortSignal): DaxdError {
  const reason: unknown = signal.reason;
  if (reason instanceof DaxdError) return reason;
  return new DaxdError('cancelled', 'the request for a lease was cancelled: nothing is pinned');
}

/** A lease over a pending change would keep it waiting for ever. */
function refuseRecalled(place: LeasePlace, { path }: LeaseRequest): void {
  const { target, file, from, to } = place;
  if (file === undefined) return;
  const pending = target.layouts.pendingOver(file.inode, from, to);
  if (pending === undefined) return;
  throw new DaxdError(
    'recall-conflict',
    `${pending.op} ${pending.id} waits to change bytes of ${path} between ${from} and ${to}: ask again once that operation is done`,
  );
}

/** Whether a write lease may take the place, if nothing became a hole again. */
function isPrepared(place: LeasePlace, prepared: FilePlace | undefined): boolean {
  if (place.file === undefined) return true;
  return (
    prepared?.target.fs === place.target.fs &&
    prepared.file.inode === place.file.inode &&
    prepared.file.generation === place.file.generation
  );
}

/** Prepares a file's pages for writing, also where all are written: that may not be durable yet. */
async function prepare(
  place: LeasePlace,
  { path, access }: LeaseRequest,
  prepares: number,
): Promise<FilePlace> {
  assert(place.file !== undefined, 'raw pages need no preparation');
  if (prepares === PREPARE_ATTEMPTS_MAX) {
    throw new DaxdError(
      'EBUSY',
      `${path} lost its blocks ${PREPARE_ATTEMPTS_MAX} times while it was prepared for writing: ask again`,
    );
  }
  const { target, file, from, to } = place;
  await target.fs.prepareDma(file.inode, from, to - from, access);
  return place;
}

function checkReleaseRanges(ranges: readonly ByteRange[]): void {
  if (ranges.length > LEASE_RANGES_MAX) {
    throw new DaxdError(
      'EINVAL',
      `${ranges.length} ranges in one release, at most ${LEASE_RANGES_MAX}: send more releases`,
    );
  }
  for (const range of ranges) checkByteRange('release', range);
}
