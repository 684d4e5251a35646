import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { PAGE_SIZE } from '../lib/units.js';
import type { ByteRange } from './byte-ranges.js';
import type { Timed } from './deadlines.js';
import { nextLeaseState } from './lease-state.js';
import type { LeaseState } from './lease-state.js';
import { bytesIn } from './page-runs.js';
import type { PageRun } from './page-runs.js';
import type { ProcessRef } from './process-table.js';

/** What a lease lets its holder do with the pages. */
export type LeaseAccess = 'read' | 'write';

/** What a lease is made of; all offsets and lengths are bytes. */
export interface LeaseTerms {
  readonly id: string;
  readonly partition: string;
  /** As it was asked for; absent for a lease on a raw partition, like `inode`. */
  readonly path?: string | undefined;
  readonly inode?: number | undefined;
  readonly offset: number;
  readonly length: number;
  readonly access: LeaseAccess;
  readonly ttlMs: number;
  /** What the holder calls itself. */
  readonly client?: string | undefined;
  /** SHA-256 of the holder's secret; never shown, never logged. */
  readonly secretHash?: string | undefined;
  /** The process with whose end the lease ends. */
  readonly holder?: ProcessRef | undefined;
  readonly backingPath: string;
}

/** A lease as the API shows it. */
export interface LeaseView {
  readonly id: string;
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
  readonly client?: string | undefined;
  readonly pid?: number | undefined;
  readonly pid_start?: number | undefined;
}

/** Where bytes of the lease lie; `device_offset` counts from the start of the backing. */
export interface LeaseExtent {
  readonly file_offset: number;
  readonly device_offset: number;
  readonly length: number;
}

/**
 * One lease. Its pages are pinned exactly while it is held (active or suspect): each page in
 * `runs` once. Only {@link Leases} changes it, and keeps pins and indexes in step.
 */
export class Lease implements Timed {
  readonly terms: LeaseTerms;
  readonly grantedMs: number;
  deadlineMs: number;
  deadlineSlot = -1;
  readonly #clock: Clock;
  #state: LeaseState = 'active';
  #ranges: readonly ByteRange[];
  #runs: readonly PageRun[];

  /** @param runs the pages, pinned for it. */
  constructor(terms: LeaseTerms, runs: readonly PageRun[], clock: Clock) {
    this.terms = terms;
    this.#clock = clock;
    this.grantedMs = clock.nowMs();
    this.deadlineMs = this.grantedMs + terms.ttlMs;
    this.#ranges = [{ offset: terms.offset, length: terms.length }];
    this.#runs = runs;
  }

  get id(): string {
    return this.terms.id;
  }

  get state(): LeaseState {
    return this.#state;
  }

  /** The bytes not released yet: ascending, disjoint. */
  get ranges(): readonly ByteRange[] {
    return this.#ranges;
  }

  /** The pages pinned for those bytes, ascending by offset. */
  get runs(): readonly PageRun[] {
    return this.#runs;
  }

  /** How many pages the lease pins. */
  get pages(): number {
    return bytesIn(this.#runs) / PAGE_SIZE;
  }

  moveTo(state: LeaseState): void {
    this.#state = nextLeaseState(this.#state, state);
  }

  /** Takes over what a release left. */
  keep(ranges: readonly ByteRange[], runs: readonly PageRun[]): void {
    assert(this.#state !== 'released', 'a released lease keeps nothing');
    this.#ranges = ranges;
    this.#runs = runs;
  }

  /** How the API shows it now. */
  view(): LeaseView {
    const { partition, path, offset, length, access, ttlMs, client, holder } = this.terms;
    return {
      id: this.id,
      state: this.#state,
      partition,
      path,
      offset,
      length,
      access,
      ttl_ms: ttlMs,
      remaining_ttl_ms: this.#remainingTtlMs(),
      pages: this.pages,
      ranges: this.#ranges,
      backing_path: this.terms.backingPath,
      extents: this.#extents(),
      client,
      pid: holder?.pid,
      pid_start: holder?.startTicks,
    };
  }

  #remainingTtlMs(): number {
    if (this.#state !== 'active') return 0;
    return Math.max(0, Math.floor(this.deadlineMs - this.#clock.nowMs()));
  }

  /** The pinned runs, clipped to the bytes that are lent. */
  #extents(): LeaseExtent[] {
    const extents: LeaseExtent[] = [];
    let next = 0;
    for (const { offset, length } of this.#ranges) {
      const end = offset + length;
      // A run may hold the end of one range and the start of the next: stay on it.
      while (next < this.#runs.length && runEnd(this.#runs[next]) <= offset) next++;
      for (let i = next; i < this.#runs.length; i++) {
        const run = this.#runs[i];
        if (run === undefined || run.offset >= end) break;
        const from = Math.max(offset, run.offset);
        extents.push({
          file_offset: from,
          device_offset: run.deviceOffset + (from - run.offset),
          length: Math.min(end, runEnd(run)) - from,
        });
      }
    }
    return extents;
  }
}

function runEnd(run: PageRun | undefined): number {
  return run === undefined ? 0 : run.offset + run.length;
}
