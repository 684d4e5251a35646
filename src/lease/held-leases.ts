import { setImmediate as nextTurn } from 'node:timers/promises';

import { Buckets } from '../lib/buckets.js';
import type { EventSink } from '../lib/event-ring.js';
import type { Logger } from '../lib/logger.js';
import type { Clock } from '../lib/clock.js';
import { wallMsOf } from '../lib/sortable-id.js';
import type { Memremap } from '../mm/memremap.js';
import { pagesCovering, subtract } from './byte-ranges.js';
import type { ByteRange } from '../lib/byte-range.js';
import { LeaseCounters } from './lease-counters.js';
import { LeaseIndex } from './lease-index.js';
import { leaseEventFields, leaseEventName } from './lease-events.js';
import type { EndState, HeldState, LeaseState } from './lease-state.js';
import type { QuarantineCause } from './lease-record.js';
import type { LeaseStore } from './lease-store.js';
import type { LeaseTarget } from './lease-target.js';
import type { Lease } from './lease.js';
import { pinRuns, unpinPages, unpinRuns } from './page-runs.js';
import { RawClaims } from './raw-claims.js';

/** What {@link HeldLeases} stand on. */
export interface HeldLeasesOptions {
  readonly memremap: Memremap;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told of what becomes of a lease. */
  readonly events: EventSink;
  /** Knows the fencing token of the last lease of the daemons before. */
  readonly store: Pick<LeaseStore, 'fencingToken'>;
}

/** How a lease ended: what it is called, and why its pages are used no more. */
export interface LeaseEnd {
  readonly state: EndState;
  readonly reason: string;
}

/**
 * The leases that are held, in memory: their pins, claims, indexes and counts.
 *
 * Invariants:
 * - a page is pinned once for each held lease with a remaining byte on it (a read lease:
 *   where the file is not a hole there), and by nothing else here;
 * - every change is one synchronous step, so what the API shows, the pins and the indexes
 *   agree whenever anybody looks.
 */
export class HeldLeases {
  readonly counters = new LeaseCounters();
  readonly index = new LeaseIndex();
  /** Those in quarantine. */
  readonly quarantined = new Set<Lease>();
  readonly #options: HeldLeasesOptions;
  readonly #rawClaims = new RawClaims();
  readonly #onLess = new Buckets<Lease, () => void>();
  /** That of the last lease that this daemon has not granted itself. */
  readonly #earlierToken: number;

  constructor(options: HeldLeasesOptions) {
    this.#options = options;
    this.#earlierToken = options.store.fencingToken;
  }

  /**
   * Pins the pages of a lease and takes it in.
   *
   * @param target what a raw lease claims its partition from.
   * @throws DaxdError ENXIO when pages are gone or about to go, EBUSY when another has the
   *   partition; nothing is pinned then.
   */
  add(lease: Lease, target: LeaseTarget | undefined): void {
    this.#pin(lease, target);
    this.index.add(lease);
  }

  /**
   * Pins the pages of the first leases, ascending by id, and takes them in.
   *
   * @param targets what raw leases claim their partitions from, by partition.
   * @throws as {@link add}; those before the one that failed are held then.
   */
  restore(leases: readonly Lease[], targets: ReadonlyMap<string, LeaseTarget>): void {
    let pinned = 0;
    try {
      for (const lease of leases) {
        const { partition, inode } = lease.terms;
        this.#pin(lease, inode === undefined ? targets.get(partition) : undefined);
        pinned++;
      }
    } finally {
      this.index.restore(pinned === leases.length ? leases : leases.slice(0, pinned));
    }
  }

  #pin(lease: Lease, target: LeaseTarget | undefined): void {
    const { partition } = lease.terms;
    const raw = target?.kind === 'raw' ? target : undefined;
    if (raw !== undefined) this.#rawClaims.take(partition, raw);
    try {
      pinRuns(this.#options.memremap, lease.runs);
    } catch (error) {
      if (raw !== undefined) this.#rawClaims.drop(partition);
      throw error;
    }
    if (lease.state === 'quarantined') this.quarantined.add(lease);
    this.counters.entered(lease);
  }

  /** Takes bytes out of a lease: a page is unpinned once none of `rest` lies on it. */
  shrink(lease: Lease, rest: readonly ByteRange[]): void {
    const { memremap, log } = this.#options;
    const freed = subtract(pagesCovering(lease.ranges), pagesCovering(rest));
    this.index.repin(lease, () => {
      lease.keep(rest, unpinPages(memremap, lease.runs, freed));
    });
    this.#options.events.push('lease.shrunk', leaseEventFields(lease));
    log.info(
      { lease: lease.id, pages: lease.pages, ranges: rest.length },
      'lease released in part',
    );
    this.#tellLess(lease);
  }

  /** Has `port` told whenever `lease` has fewer pages than before; what it returns ends that. */
  onLess(lease: Lease, port: () => void): () => void {
    this.#onLess.add(lease, port);
    return () => {
      this.#onLess.delete(lease, port);
    };
  }

  /** Unpins all of a lease and forgets it. */
  remove(lease: Lease, { state, reason }: LeaseEnd): void {
    const { log } = this.#options;
    this.#unpin(lease);
    const from = lease.state;
    lease.end(state, reason);
    this.#moved(lease, from, reason);
    const { partition, path, client } = lease.terms;
    const heldMs = this.#heldMs(lease);
    this.counters.holdSeconds.observe(heldMs / 1000);
    log.info(
      { lease: lease.id, partition, path, client, reason, heldMs: Math.round(heldMs) },
      `lease ${state}`,
    );
    this.#tellLess(lease);
  }

  move(lease: Lease, to: HeldState): void {
    const from = lease.state;
    lease.moveTo(to);
    this.#moved(lease, from);
  }

  /** Its pages stay pinned, and it cannot be renewed any more. */
  quarantine(lease: Lease, cause: QuarantineCause): void {
    const { reason } = cause;
    const from = lease.state;
    lease.quarantine(cause);
    this.quarantined.add(lease);
    this.#moved(lease, from, reason);
    const { partition, path, client } = lease.terms;
    this.#options.log.warn(
      { lease: lease.id, partition, path, client, pages: lease.pages, reason },
      'lease in quarantine: its pages stay pinned until it is released',
    );
  }

  /** Takes note that all pages of a lease have left its file: nothing that changes it waits for them. */
  leaveFile(lease: Lease): void {
    this.index.repin(lease, () => {
      lease.leaveFile();
    });
  }

  /** Settles when no durable step of a lease is under way. */
  async untilIdle(): Promise<void> {
    for (;;) {
      const busy = this.index.all().filter(({ isBusy }) => isBusy);
      if (busy.length === 0) return;
      await Promise.all(busy.map((lease) => lease.inTurn(async () => {})));
      // Who waited for a step may begin the next: a grant is given back that nobody heard of.
      await nextTurn();
    }
  }

  /** Unpins everything, for a process that ends: who holds what is in the store. */
  unpinAll(): void {
    for (const lease of this.index.all()) this.#unpin(lease);
  }

  /** Whether an earlier daemon granted it: its times may be those of another boot's clock. */
  isEarlier({ terms }: Lease): boolean {
    return terms.fencingToken <= this.#earlierToken;
  }

  /** What an earlier daemon granted is timed by the wall. */
  #heldMs(lease: Lease): number {
    const { clock } = this.#options;
    if (!this.isEarlier(lease)) return clock.nowMs() - lease.terms.grantedMs;
    return Math.max(0, clock.wallMs() - wallMsOf(lease.id));
  }

  #tellLess(lease: Lease): void {
    for (const tell of this.#onLess.of(lease)) tell();
  }

  /** Counts and tells of a lease that was `from` before. */
  #moved(lease: Lease, from: LeaseState, reason?: string): void {
    this.counters.entered(lease, from);
    this.#options.events.push(leaseEventName(lease.state), leaseEventFields(lease, reason));
  }

  #unpin(lease: Lease): void {
    this.index.delete(lease);
    this.quarantined.delete(lease);
    unpinRuns(this.#options.memremap, lease.runs);
    if (lease.terms.inode === undefined) this.#rawClaims.drop(lease.terms.partition);
    lease.keep([], []);
  }
}
