import type { PendingChange } from '../dax/layout-change.js';
import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { EventSink } from '../lib/event-ring.js';
import type { Logger } from '../lib/logger.js';
import type { SortableIds } from '../lib/sortable-id.js';
import type { Memremap } from '../mm/memremap.js';
import type { ByteRange } from '../lib/byte-range.js';
import { Checkpoint } from './checkpoint.js';
import { commitInParts } from './commit-in-parts.js';
import { Deadlines } from './deadlines.js';
import type { Fence } from './fence.js';
import { endedLease, refuseOver, unlessEnded } from './ended-lease.js';
import { HeldLeases } from './held-leases.js';
import { holdingOf } from './holding.js';
import { inTheWayOf } from './in-the-way.js';
import { KeyedGrants } from './keyed-grants.js';
import type { LeaseCounters } from './lease-counters.js';
import { leaseEventFields } from './lease-events.js';
import type { LeaseFilter, LeasePage } from './lease-index.js';
import { findPlace, mountedTarget, refuseBesideFiles, runsOf, termsOf } from './lease-place.js';
import type { FilePlace, LeasePlace } from './lease-place.js';
import { checkLeaseRequest, checkReleaseRanges, logRefusal } from './lease-request.js';
import type { LeaseRequest } from './lease-request.js';
import { grantedDeadlineMs } from './lease-terms.js';
import { LeaseTurn, refuseDraining, refuseGivenUp } from './lease-turn.js';
import { LeaseSteps } from './lease-steps.js';
import type { LeaseCheck } from './lease-steps.js';
import type { LeaseStore } from './lease-store.js';
import type { FilesystemTarget, LeaseTargets } from './lease-target.js';
import { LeaseQuarantine } from './lease-quarantine.js';
import { Lease } from './lease.js';
import { LEASES_MAX } from './limits.js';
import { namedHolder, refuseAbsent } from './named-holder.js';
import type { PageRun } from './page-runs.js';
import { isPrepared, prepare } from './prepare-place.js';
import { HolderWatch } from './holder-watch.js';
import { endOf } from './holder.js';
import type { Holder, HolderTable } from './holder.js';
import { Revocation } from './revocation.js';
import { logRestored, restoredLeases } from './restored-leases.js';
import { RecallClock } from './recall-clock.js';
import { recalledView, recallsOf, shownChanges, tellGranted } from './recalls.js';
import type { RecalledView } from './recalls.js';

/** What {@link Leases} stand on. */
export interface LeasesOptions {
  readonly targets: LeaseTargets;
  readonly memremap: Memremap;
  readonly holders: HolderTable;
  readonly store: LeaseStore;
  /** What {@link StoreHeader} names: the namespace, and the boot of the machine. */
  readonly media: string;
  readonly bootId: string;
  /** What holders map. */
  readonly backingPath: string;
  readonly clock: Clock;
  readonly ids: SortableIds;
  readonly log: Logger;
  /** Cuts holders off whose leases are revoked; undefined: nothing here can. */
  readonly fence?: Fence | undefined;
  /** Told of each change of a lease's state, and of partial releases. */
  readonly events: EventSink;
}

/**
 * The leases of one daemon, and of those before it.
 *
 * Rules:
 * - leases never conflict with each other: only a pending layout change refuses one;
 * - pages are pinned before the store has a lease and unpinned after it has forgotten it, and
 *   both before the answer. So a crash at any moment leaves no page that somebody may do DMA
 *   to without a pin after the restart;
 * - the durable steps of one lease come one after the other.
 */
export class Leases {
  readonly #options: LeasesOptions;
  readonly #held: HeldLeases;
  readonly #steps: LeaseSteps;
  readonly #keyed: KeyedGrants;
  readonly #deadlines: Deadlines<Lease>;
  readonly #watch: HolderWatch<Lease>;
  readonly #checkpoint: Checkpoint;
  /** Leases whose pages left their files. */
  readonly quarantine: LeaseQuarantine;
  /** Takes leases from their holders. */
  readonly revocation: Revocation;
  /** How long holders have to answer what asks for their pages. */
  readonly recallClock: RecallClock;
  /** That of the lease granted last. */
  #fencingToken: number;
  #draining = false;
  #tellEnded: (id: string) => void = () => {};
  readonly #dropDeadline = (lease: Lease): void => {
    this.#deadlines.delete(lease);
    this.#checkpoint.delete(lease);
  };

  constructor(options: LeasesOptions) {
    const { clock, holders } = options;
    this.#options = options;
    this.#fencingToken = options.store.fencingToken;
    this.#held = new HeldLeases(options);
    this.#keyed = new KeyedGrants(options.store, (id) => this.#steps.unlessEnding(this.get(id)));
    this.#checkpoint = new Checkpoint(options);
    this.quarantine = new LeaseQuarantine({
      ...options,
      held: this.#held,
      onQuarantine: this.#dropDeadline,
    });
    this.#steps = new LeaseSteps({
      held: this.#held,
      store: options.store,
      clock,
      quarantine: this.quarantine,
      onQuarantine: this.#dropDeadline,
      onForget: (lease) => {
        this.#dropDeadline(lease);
        this.#tellEnded(lease.id);
        const { holder } = lease.terms;
        if (holder !== undefined) this.#watch.delete(holder, lease);
      },
    });
    this.recallClock = new RecallClock(clock, this.#held);
    this.revocation = new Revocation({
      ...options,
      fence: options.fence,
      held: this.#held,
      steps: this.#steps,
      recallClock: this.recallClock,
    });
    this.#deadlines = new Deadlines(clock, (lease) => {
      this.#lapse(lease);
    });
    this.#watch = new HolderWatch(holders, clock, (lease, holder) => {
      void this.revocation.proven(lease.id, endOf(holder));
    });
  }

  /** Plain counts, for whoever exports them. */
  get counters(): LeaseCounters {
    return this.#held.counters;
  }

  /** How many leases are held. */
  get size(): number {
    return this.#held.index.size;
  }

  /** The leases that no store keeps yet: they would not outlive this process. */
  get unkept(): readonly Lease[] {
    return this.#steps.unkept;
  }

  /** The leases in quarantine. */
  get quarantined(): ReadonlySet<Lease> {
    return this.#held.quarantined;
  }

  /** How many leases stand on a partition, on its files or on its raw bytes. */
  countOn(partition: string): number {
    return this.#held.index.countOn(partition);
  }

  /** How many leases stand on the files of a partition. */
  countOnFiles(partition: string): number {
    return this.#held.index.countOnFiles(partition);
  }

  /**
   * A lease by id; one released lately is there too, with state released.
   *
   * @throws DaxdError ENOENT; EBADMSG where the store is damaged there.
   */
  get(id: string): Lease {
    const lease = this.#held.index.get(id) ?? endedLease(this.#options, id);
    if (lease !== undefined) return lease;
    throw new DaxdError('ENOENT', `there is no lease ${id}: list the leases that are held`);
  }

  /**
   * A lease by id, in quarantine or not, that its holder keeps for now.
   *
   * @throws DaxdError ENOENT, also for one that is being ended; EBADMSG as {@link get}.
   */
  kept(id: string): Lease {
    return this.#steps.unlessEnding(unlessEnded(this.get(id)));
  }

  /** How the API shows a lease now. */
  view(lease: Lease): RecalledView {
    return recalledView(lease, this.targetOf(lease), this.recallClock);
  }

  /** Held leases, ascending by id. @throws DaxdError EINVAL for a limit below 1. */
  list(filter: LeaseFilter): LeasePage {
    return this.#held.index.list(filter);
  }

  /**
   * Ids of the leases that pin a page holding a byte of [from, to), at most
   * HOLDERS_NAMED_MAX; `to` may be Infinity. Pages that left the file are not in it any more. Without `inode` those are raw leases, and the
   * bytes are the partition's.
   */
  overlapping(partition: string, inode: number | undefined, from: number, to: number): string[] {
    const isInTheWay = inTheWayOf({ from, to }, mountedTarget(this.#options.targets, partition));
    return this.#held.index.overlapping(partition, inode, { from, to }, isInTheWay);
  }

  /**
   * Pins a range and answers with the lease once it is durable. Before that a write lease has
   * its holes and unwritten extents turned into zeroed, written blocks; a request that fails or
   * is cancelled there leaves no pin, but may leave those blocks. For a request with a key that
   * was granted before: that lease, as it is now, whether it has ended or not.
   *
   * @throws DaxdError EINVAL, ENOENT, EISDIR, EROFS, EFBIG, EOPNOTSUPP, EBUSY as the range and
   * its target demand (see {@link findPlace}); ESRCH when the holder that is named is not seen;
   * ENXIO when the device is going; ENOSPC when LEASES_MAX are held, or the filesystem or the
   * disk of the store is full; EIO when the store fails; `recall-conflict` when a layout change
   * is pending there, at once or after the time that the request waits; `cancelled`; `draining`; what {@link KeyedGrants} refuses.
   */
  async acquire(request: LeaseRequest, signal?: AbortSignal): Promise<Lease> {
    const { key } = request;
    if (key === undefined) return this.#acquire(request, signal);
    return this.#keyed.once(key, () => this.#acquire(request, signal));
  }

  /**
   * Gives a lease its full ttl again, from now. A suspect or reclaimable lease becomes active:
   * its pages were pinned all the time. The store hears of it within CHECKPOINT_MS: what is
   * lost with a crash is time, never a page. That it became active outlives a crash at once.
   *
   * @throws DaxdError ENOENT for a released lease as for one never known, so that the answer
   * stays the same when the release is forgotten, and for one that is being ended; `lease-revoked` for one in quarantine;
   * `draining`; what `check` throws.
   */
  renew(id: string, check?: LeaseCheck): Lease {
    const lease = this.get(id);
    refuseOver(lease);
    this.#steps.refuseLate(lease);
    refuseDraining(this.#draining);
    check?.(lease);
    const isActive = lease.state === 'active';
    if (!isActive) this.#held.move(lease, 'active');
    this.#deadlines.set(lease, this.#options.clock.nowMs() + lease.terms.ttlMs);
    // Else the next daemon takes it for one that was not renewed since a start, or that has lapsed.
    if (!isActive) this.#options.store.renewed(id, lease.deadlineMs);
    this.#checkpoint.add(lease);
    // The reply will say who waits for it; those that take no lease have a time of their own.
    for (const { id: change, revokes } of shownChanges(lease, this.targetOf(lease))) {
      if (revokes) this.recallClock.seen(lease, change);
    }
    return lease;
  }

  /**
   * Takes note that the holder of a lease has seen that it is asked for, and how long it takes
   * to give it back, in milliseconds from now. What waits goes on waiting; what would take the
   * lease from its holder gives it that time, up to RECALL_MS_MAX in all.
   *
   * @throws DaxdError ENOENT for a lease that nothing asks for, or that is being ended; what `check` throws.
   */
  acknowledge(id: string, estimateMs: number, check?: LeaseCheck): Lease {
    const lease = this.#steps.unlessEnding(this.get(id));
    check?.(lease);
    this.recallClock.acknowledged(lease, this.#recallsOf(lease), estimateMs);
    this.#options.events.push('recall.acknowledged', { ...leaseEventFields(lease), estimateMs });
    return lease;
  }

  /**
   * Ends a lease, or takes `ranges` out of it: a page is unpinned once no remaining byte of
   * the lease lies on it. Bytes that are released already, or never were lent, change
   * nothing; neither does the release of a released lease, which `check` is not asked about.
   * Settles when it is durable.
   *
   * @throws DaxdError ENOENT; EINVAL for a bad range, for more than LEASE_RANGES_MAX, and
   * where more than that many would be left; ENOSPC, EIO when the store fails; what `check`
   * throws: all is held still.
   */
  async release(id: string, ranges?: readonly ByteRange[], check?: LeaseCheck): Promise<Lease> {
    const lease = this.get(id);
    if (ranges !== undefined) checkReleaseRanges(ranges);
    await lease.inTurn(() => this.#steps.release(lease, ranges, check));
    return lease;
  }

  /**
   * Ends a lease in quarantine on somebody's word, which is remembered.
   *
   * @param reason how it is known that its pages are used no more.
   * @throws DaxdError ENOENT for a lease that is not in quarantine; EIO when the store fails.
   */
  async attest(id: string, reason: string): Promise<void> {
    const lease = this.get(id);
    await lease.inTurn(() => this.#steps.attest(lease, reason));
  }

  /**
   * Takes in what the store keeps: its pages are pinned when this settles. To be called before
   * anything is mounted, and before anybody is served.
   *
   * @throws DaxdError EBUSY where the store belongs to other media; EBADMSG for a damaged one.
   */
  async restore(): Promise<void> {
    const restored = restoredLeases(this.#options);
    const { leases, rawTargets, changes, header, ended } = restored;
    for (const record of ended) this.quarantine.addEnded(record);
    this.#held.restore(leases, rawTargets);
    const last = leases.at(-1);
    if (last !== undefined) this.#options.ids.follow(last.id);
    this.#deadlines.restore(leases);
    for (const lease of this.#held.quarantined) this.#deadlines.delete(lease);
    for (const lease of leases) {
      if (lease.terms.holder !== undefined) this.#watch.add(lease.terms.holder, lease);
    }
    await commitInParts(this.#options.store, changes);
    await this.#options.store.commit([{ kind: 'header', header }]);
    logRestored(this.#options, restored);
  }

  /** Has one port told of each lease that ends, whatever ends it. */
  onEnded(port: (id: string) => void): void {
    this.#tellEnded = port;
  }

  /** Refuses new leases and renewals from now on; releases go on. */
  drain(): void {
    this.#draining = true;
  }

  /**
   * Ends the use of the leases by this process; the store keeps them, and has been told all when
   * this settles. Their holders keep what they mapped.
   */
  async close(): Promise<void> {
    this.#watch.close();
    // What a lease stands on is given back next: nothing is to look at it any more.
    this.#deadlines.close();
    await this.revocation.close();
    await this.#held.untilIdle();
    await this.#checkpoint.write();
    this.#held.unpinAll();
  }

  async #acquire(request: LeaseRequest, signal: AbortSignal | undefined): Promise<Lease> {
    const turn = new LeaseTurn(request, this.#options.clock, signal);
    try {
      checkLeaseRequest(request);
      const holder = namedHolder(request, this.#options.holders);
      let prepared: FilePlace | undefined;
      for (let prepares = 0; ;) {
        // All of this is looked at anew after each wait: the file, its size, the holder.
        this.#refuseUnfit(holder, signal);
        const place = findPlace(this.#options.targets, request);
        if (place.file === undefined) refuseBesideFiles(request.partition, this.#held.index);
        if (turn.mustWait(place)) {
          await turn.come(place);
          continue;
        }
        const isReady = request.access === 'read' || isPrepared(place, prepared);
        const runs = isReady ? runsOf(place, request.access) : undefined;
        if (runs !== undefined) return await this.#grant(request, holder, place, runs);
        prepared = await prepare(place, request, prepares++);
      }
    } catch (error) {
      this.counters.refused(error);
      logRefusal(this.#options, request, error);
      throw error;
    } finally {
      turn.end();
    }
  }

  /** No await from {@link findPlace} to the pins, so what was checked still holds. */
  async #grant(
    request: LeaseRequest,
    holder: Holder | undefined,
    place: LeasePlace,
    runs: readonly PageRun[],
  ): Promise<Lease> {
    const { ids, clock, log, events } = this.#options;
    const { partition, path, offset, length, access, ttlMs, client } = request;
    const grantedMs = clock.nowMs();
    const fencingToken = ++this.#fencingToken;
    const terms = termsOf(request, place, { id: ids.next(), fencingToken, holder, grantedMs });
    const holding = holdingOf(terms, { ranges: [{ offset, length }], runs });
    const standing = { state: 'active', holding, deadlineMs: grantedDeadlineMs(terms) } as const;
    const lease = new Lease(terms, standing, this.#options);
    this.#held.add(lease, place.target);
    this.#deadlines.set(lease, lease.deadlineMs);
    if (holder !== undefined) this.#watch.add(holder, lease);
    // Else the store may outlive the extents that it names, and the next daemon finds others.
    const { target } = place;
    const durable = target.kind === 'filesystem' ? target.fs.whenDurable() : undefined;
    await this.#steps.keep(lease, request.key, durable);
    this.counters.requests.granted++;
    tellGranted(lease, this.targetOf(lease), { events, recallClock: this.recallClock });
    log.info(
      { lease: lease.id, partition, path, offset, length, access, ttlMs, client, holder },
      'lease granted',
    );
    return lease;
  }

  /** Expiry ends rights, it never frees pages: the holder may still have a device that writes. */
  #lapse(lease: Lease): void {
    this.#held.move(lease, 'suspect');
    const { partition, path, client, ttlMs } = lease.terms;
    this.#options.log.warn(
      { lease: lease.id, partition, path, client, ttlMs, pages: lease.pages },
      'lease lapsed: suspect, its pages stay pinned until it is released',
    );
    const [first] = this.#recallsOf(lease);
    if (first !== undefined) this.revocation.lapsed(lease, `${first.op} ${first.id}`);
  }

  /** The mounted filesystem of its partition, if any. */
  targetOf({ terms: { partition } }: Lease): FilesystemTarget | undefined {
    return mountedTarget(this.#options.targets, partition);
  }

  #recallsOf(lease: Lease): Iterable<PendingChange> {
    return recallsOf(lease, this.targetOf(lease));
  }

  #refuseUnfit(holder: Holder | undefined, signal: AbortSignal | undefined): void {
    refuseGivenUp(signal);
    refuseDraining(this.#draining);
    if (this.#held.index.size >= LEASES_MAX) {
      throw new DaxdError('ENOSPC', `${LEASES_MAX} leases are held, no more fit: release some`);
    }
    refuseAbsent(holder, this.#options.holders);
  }
}
