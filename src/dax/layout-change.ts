import type { Clock } from '../lib/clock.js';
import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import type { ErrorCode } from '../lib/errno.js';
import type { PfnRun } from '../mm/gup.js';
import { QueuedBytes, reasonOf } from './queued-bytes.js';

/** The file operations that free or move blocks, or zero part of one. */
export const LAYOUT_OPS = [
  'truncate',
  'punch-hole',
  'zero-range',
  'collapse-range',
  'insert-range',
  'fallocate',
  'replace',
  'unlink',
  'rename',
] as const;

/** One of {@link LAYOUT_OPS}. */
export type LayoutOp = (typeof LAYOUT_OPS)[number];

/** What an operation asks for before it may free blocks. */
export interface LayoutChangeRequest {
  readonly op: LayoutOp;
  readonly inode: number;
  /** For people who look at what waits. */
  readonly path?: string | undefined;
  /** The bytes of the file that change, half open; `to` may be Infinity. */
  readonly from: number;
  readonly to: number;
  /** The pages behind those bytes now, partly covered ones included. Asked anew for each scan. */
  readonly pages: () => Iterable<PfnRun>;
  /** How long the caller waits at most, in milliseconds, for people; 0: not at all. */
  readonly deadlineMs?: number | undefined;
  /** Told once, when the change finds that it has to wait. */
  readonly onWait?: ((change: PendingChange) => void) | undefined;
  /** Aborted: the wait is given up, with a DaxdError that is its reason or `cancelled`; the file is as it was. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Waits for earlier changes alone, and for no page: what is pinned when its turn has come
   * leaves the file, and is kept from being used again.
   */
  readonly defer?: boolean | undefined;
  /**
   * Awaited when the change's turn has come and pages are pinned: gets them back from their
   * holders, or ends these holders' rights. To go with `defer`.
   */
  readonly revoke?: Revoke | undefined;
  /** Where it is one that an earlier daemon began to wait with. */
  readonly resumed?: ResumedChange | undefined;
}

/** What a change keeps when it is taken up again after a restart. */
export interface ResumedChange {
  readonly id: string;
  /** When it started: on the clock of this boot, and in milliseconds since the epoch. */
  readonly startedMs: number;
  readonly startedWallMs: number;
}

/** Settles when no holder of the change's pages has rights any more, and soon after an abort. */
export type Revoke = (change: PendingChange, signal: AbortSignal) => Promise<void>;

/** A layout change as others see it, from its barrier going up until it comes down. */
export interface PendingChange {
  readonly id: string;
  readonly op: LayoutOp;
  readonly inode: number;
  readonly path: string | undefined;
  readonly from: number;
  readonly to: number;
  readonly state: LayoutChangeState;
  /** Whether it waits for no page: see {@link LayoutChangeRequest.defer}. */
  readonly defers: boolean;
  /** Whether holders have `deadlineMs` each, and then lose their leases. */
  readonly revokes: boolean;
  /** Whether its wait ended well: no page was pinned, or it defers. */
  readonly wasBroken: boolean;
  /** Why it was given up, if it was; what else went wrong does not stand here. */
  readonly givenUp: ErrorCode | undefined;
  /** How long the caller waits at most, in milliseconds from the start; 0: not at all. */
  readonly deadlineMs: number | undefined;
  /** When it started, in milliseconds since the epoch. */
  readonly startedWallMs: number;
  /** When its barrier went up in this daemon, in milliseconds of the clock: one that was resumed waits longer. */
  readonly raisedMs: number;
  /** How long it waits already, or had waited when its pages were idle or it was given up. */
  waitedMs(): number;
  /** Ends the wait with `cancelled`. Does nothing once the wait is over. */
  cancel(): void;
}

/** Where a {@link PendingChange} stands. */
export type LayoutChangeState = 'queued' | 'breaking' | 'broken' | 'ended';

/**
 * One pending change of one file.
 *
 *     queued --earlier ones ended--> breaking --no page pinned--> broken --lift--> ended
 *        |                              |      or it defers                          ^
 *        +-------- abort, failure ------+--------------------------------------------+
 */
export class LayoutChange extends QueuedBytes implements PendingChange {
  readonly id: string;
  readonly op: LayoutOp;
  readonly path: string | undefined;
  readonly defers: boolean;
  readonly revokes: boolean;
  readonly pages: () => Iterable<PfnRun>;
  readonly deadlineMs: number | undefined;
  readonly onWait: ((change: PendingChange) => void) | undefined;
  readonly startedWallMs: number;
  readonly raisedMs: number;
  readonly #clock: Clock;
  readonly #revoke: Revoke | undefined;
  readonly #startedMs: number;
  /** Made for whoever revokes: nothing else needs one. */
  #abort: AbortController | undefined;
  #state: LayoutChangeState = 'queued';
  #wasBroken = false;
  /** How long the wait took, once it is over. */
  #tookMs: number | undefined;

  constructor(id: string, request: LayoutChangeRequest, clock: Clock) {
    const { op, inode, path, from, to, pages, defer = false, revoke } = request;
    assert(from >= 0 && to >= from, `${op} changes bytes ${from} to ${to}, in this order`);
    super(inode, from, to);
    this.id = id;
    this.op = op;
    this.path = path;
    this.defers = defer;
    this.#revoke = revoke;
    this.revokes = revoke !== undefined;
    this.pages = pages;
    this.deadlineMs = request.deadlineMs;
    this.onWait = request.onWait;
    this.startedWallMs = request.resumed?.startedWallMs ?? clock.wallMs();
    this.#clock = clock;
    this.raisedMs = clock.nowMs();
    this.#startedMs = request.resumed?.startedMs ?? this.raisedMs;
    const { signal } = request;
    if (signal !== undefined) this.follow(signal, () => reasonOf(signal) ?? this.#cancelled());
  }

  get state(): LayoutChangeState {
    return this.#state;
  }

  get wasBroken(): boolean {
    return this.#wasBroken;
  }

  get givenUp(): ErrorCode | undefined {
    return this.#wasBroken ? undefined : this.aborted?.code;
  }

  /** Aborted, with a DaxdError as its reason, when the revocation is to be given up. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.aborted !== undefined) this.#abort.abort(this.aborted);
    return this.#abort.signal;
  }

  waitedMs(): number {
    const waitedMs = this.#tookMs ?? this.#clock.nowMs() - this.#startedMs;
    // The clock's fractions below a microsecond are noise that people would have to read.
    return Math.round(waitedMs * 1000) / 1000;
  }

  cancel(): void {
    this.abort(this.#cancelled());
  }

  override abort(error: DaxdError): void {
    super.abort(error);
    this.#abort?.abort(this.aborted);
  }

  /** Notes that the scans begin. */
  breaking(): void {
    assert(this.#state === 'queued' && !this.queued, 'a change is broken when its turn has come');
    this.#state = 'breaking';
  }

  /**
   * Has the holders of its pages lose them.
   *
   * @throws DaxdError the reason of an abort meanwhile, and what ending a lease throws.
   */
  async revoked(): Promise<void> {
    await this.#revoke?.(this, this.signal);
    if (this.aborted !== undefined) throw this.aborted;
  }

  /** Notes that no page is pinned, or that it defers: from here on nothing gives the change up. */
  broken(): void {
    assert(this.#state === 'breaking', `a change that is ${this.#state} does not become broken`);
    this.#wasBroken = true;
    this.#leave('broken');
  }

  /** Notes that the barrier is down. */
  ended(): void {
    assert(this.#state !== 'ended', 'a change ends once');
    this.#leave('ended');
  }

  #leave(next: LayoutChangeState): void {
    this.#tookMs ??= this.waitedMs();
    this.settle();
    this.#state = next;
  }

  #cancelled(): DaxdError {
    return new DaxdError(
      'cancelled',
      `${this.op} of inode ${this.inode} was cancelled while it waited; the file is unchanged`,
    );
  }
}
