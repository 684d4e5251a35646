import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { PAGE_SIZE } from '../lib/units.js';
import { pagesCovering } from './byte-ranges.js';
import type { ByteRange } from '../lib/byte-range.js';
import type { Timed } from './deadlines.js';
import { eachPinned, rangesOf, runsIn } from './holding.js';
import type { Holding, Pieces } from './holding.js';
import { hasEnded, nextLeaseState } from './lease-state.js';
import type { EndState, LeaseState } from './lease-state.js';
import type { LeaseRecord, QuarantineCause } from './lease-record.js';
import type { LeaseAccess, LeaseTerms } from './lease-terms.js';
import { bytesIn, clipRuns } from './page-runs.js';
import type { PageRun } from './page-runs.js';

/** What changes of a lease in its life. */
export interface LeaseStanding {
  readonly state: LeaseState;
  readonly holding: Holding;
  readonly deadlineMs: number;
  /** Why it is in quarantine. */
  readonly quarantined?: QuarantineCause | undefined;
  /** Why it ended. */
  readonly ended?: string | undefined;
}

/** Where and on whose clock a lease lives. */
export interface LeasePlacement {
  /** The file or device that holders map. */
  readonly backingPath: string;
  readonly clock: Clock;
}

/** A lease as the API shows it. */
export interface LeaseView {
  readonly id: string;
  /** Larger than that of any lease before: what guards a device refuses smaller ones. */
  readonly fencing_token: number;
  readonly state: LeaseState;
  readonly partition: string;
  readonly path?: string | undefined;
  readonly offset: number;
  readonly length: number;
  readonly access: LeaseAccess;
  readonly ttl_ms: number;
  /** What is left of the ttl at this moment, rounded down; 0 unless active. */
  readonly remaining_ttl_ms: number;
  /** Pages that the lease pins. */
  readonly pages: number;
  /** What of the range asked for is not released yet. */
  readonly ranges: readonly ByteRange[];
  readonly backing_path: string;
  readonly extents: readonly LeaseExtent[];
  /** Why its pages are in quarantine. */
  readonly quarantined?: string | undefined;
  /** How it ended, if it has: asked for, or what proves that its pages are used no more. */
  readonly ended?: string | undefined;
  readonly client?: string | undefined;
  readonly pid?: number | undefined;
  readonly pid_start?: number | undefined;
  readonly cgroup?: string | undefined;
}

/** Where bytes of the lease lie; `device_offset` counts from the start of the backing. */
export interface LeaseExtent {
  readonly file_offset: number;
  readonly device_offset: number;
  readonly length: number;
}

/**
 * One lease. Its pages are pinned exactly while it is held: each page in `runs` once. Only
 * {@link HeldLeases} changes it, and keeps pins and indexes in step.
 */
export class Lease implements Timed {
  readonly terms: LeaseTerms;
  deadlineMs: number;
  deadlineSlot = -1;
  readonly #place: LeasePlacement;
  /** The durable step under way, if any. */
  #step: Promise<void> | undefined;
  #generation = 1;
  #state: LeaseState;
  #holding: Holding;
  #quarantined: QuarantineCause | undefined;
  #ended: string | undefined;
  #hasLeftFile = false;

  constructor(terms: LeaseTerms, standing: LeaseStanding, place: LeasePlacement) {
    this.terms = terms;
    this.deadlineMs = standing.deadlineMs;
    this.#state = standing.state;
    this.#holding = standing.holding;
    this.#quarantined = standing.quarantined;
    this.#ended = standing.ended;
    this.#place = place;
  }

  get id(): string {
    return this.terms.id;
  }

  get state(): LeaseState {
    return this.#state;
  }

  /**
   * Grows with each change of its state, of its ranges, and of why it is in quarantine. It counts
   * from 1 in each daemon: beside the daemon's incarnation it names what the lease was like.
   */
  get generation(): number {
    return this.#generation;
  }

  /** The bytes not released yet: ascending, disjoint. */
  get ranges(): readonly ByteRange[] {
    return rangesOf(this.terms, this.#holding);
  }

  /** Why it is in quarantine, or was. */
  get quarantined(): QuarantineCause | undefined {
    return this.#quarantined;
  }

  /** What proves that its pages are used no more, once it has ended. */
  get ended(): string | undefined {
    return this.#ended;
  }

  /** The pages pinned for those bytes, ascending by offset. */
  get runs(): readonly PageRun[] {
    return runsIn(this.terms, this.#holding);
  }

  /** Whether none of its pages is in its file any more. */
  get hasLeftFile(): boolean {
    return this.#hasLeftFile;
  }

  /** As {@link eachPinned} of what it holds of its file; nothing once all of it has left that. */
  eachPinned(take: (offset: number, length: number) => void): void {
    if (this.#hasLeftFile) return;
    eachPinned(this.terms, this.#holding, take);
  }

  /** How many pages the lease pins. */
  get pages(): number {
    return bytesIn(this.runs) / PAGE_SIZE;
  }

  /** Whether a durable step is under way. */
  get isBusy(): boolean {
    return this.#step !== undefined;
  }

  /** Runs a durable step once the one before is over, however that ended. */
  async inTurn(step: () => Promise<void>): Promise<void> {
    const turn = this.#step === undefined ? step() : this.#step.then(step, step);
    this.#step = turn;
    try {
      await turn;
    } finally {
      if (this.#step === turn) this.#step = undefined;
    }
  }

  /** What is to outlive the daemon of it; only these bytes where some are given. */
  record(rest?: readonly ByteRange[]): LeaseRecord {
    const holding = rest === undefined ? this.#holding : this.#rest(rest);
    return { terms: this.terms, holding, quarantined: this.#quarantined };
  }

  moveTo(state: LeaseState): void {
    this.#state = nextLeaseState(this.#state, state);
    this.#generation++;
  }

  /** Notes why its pages are in quarantine; the state follows. */
  quarantine(cause: QuarantineCause): void {
    this.#quarantined = cause;
    if (this.#state === 'quarantined') this.#generation++;
    else this.moveTo('quarantined');
  }

  /** Notes that all its pages have left its file, for good. */
  leaveFile(): void {
    this.#hasLeftFile = true;
  }

  /** Notes how it ended. */
  end(state: EndState, reason: string): void {
    this.#ended = reason;
    this.moveTo(state);
  }

  /** Takes over what a release left. */
  keep(ranges: readonly ByteRange[], runs: readonly PageRun[]): void {
    assert(!hasEnded(this.#state), 'a lease that has ended keeps nothing');
    this.#holding = { ranges, runs };
    this.#generation++;
  }

  /** How the API shows it now. */
  view(): LeaseView {
    const { partition, path, offset, length, access, ttlMs, client, holder } = this.terms;
    return {
      id: this.id,
      fencing_token: this.terms.fencingToken,
      state: this.#state,
      partition,
      path,
      offset,
      length,
      access,
      ttl_ms: ttlMs,
      remaining_ttl_ms: this.#remainingTtlMs(),
      pages: this.pages,
      ranges: this.ranges,
      backing_path: this.#place.backingPath,
      extents: this.#extents(),
      quarantined: this.#quarantined?.reason,
      ended: this.#ended,
      client,
      pid: holder?.pid,
      pid_start: holder?.startTicks,
      cgroup: holder?.cgroup,
    };
  }

  #rest(ranges: readonly ByteRange[]): Pieces {
    return { ranges, runs: clipRuns(this.runs, pagesCovering(ranges)) };
  }

  #remainingTtlMs(): number {
    if (this.#state !== 'active') return 0;
    return Math.max(0, Math.floor(this.deadlineMs - this.#place.clock.nowMs()));
  }

  /** The pinned runs, clipped to the bytes that are lent. */
  #extents(): LeaseExtent[] {
    return clipRuns(this.runs, this.ranges).map(({ offset, deviceOffset, length }) => ({
      file_offset: offset,
      device_offset: deviceOffset,
      length,
    }));
  }
}
