import type { Clock } from '../lib/clock.js';
import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import type { ErrorCode } from '../lib/errno.js';
import type { PfnRun } from '../mm/gup.js';

/** The file operations that free or move blocks, or zero part of one. */
export type LayoutOp =
  | 'truncate'
  | 'punch-hole'
  | 'zero-range'
  | 'collapse-range'
  | 'insert-range'
  | 'fallocate'
  | 'replace'
  | 'unlink'
  | 'rename';

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
  readonly evict?: Evict | undefined;
}

/** Settles when no holder of the change's pages has rights any more, and soon after an abort. */
export type Evict = (change: PendingChange, signal: AbortSignal) => Promise<void>;

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
  readonly evicts: boolean;
  /** Whether its wait ended well: no page was pinned, or it defers. */
  readonly wasBroken: boolean;
  /** Why it was given up, if it was; what else went wrong does not stand here. */
  readonly givenUp: ErrorCode | undefined;
  /** How long the caller waits at most, in milliseconds from the start; 0: not at all. */
  readonly deadlineMs: number | undefined;
  /** When it started, in milliseconds since the epoch. */
  readonly startedWallMs: number;
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
export class LayoutChange implements PendingChange {
  readonly id: string;
  readonly op: LayoutOp;
  readonly inode: number;
  readonly path: string | undefined;
  readonly from: number;
  readonly to: number;
  readonly defers: boolean;
  readonly evicts: boolean;
  readonly pages: () => Iterable<PfnRun>;
  readonly deadlineMs: number | undefined;
  readonly onWait: ((change: PendingChange) => void) | undefined;
  readonly startedWallMs: number;
  readonly #clock: Clock;
  readonly #evict: Evict | undefined;
  readonly #startedMs: number;
  /** Made when somebody waits on it: most changes wait for nothing. */
  #abort: AbortController | undefined;
  /** Undoes what {@link follow} registered. */
  readonly #unfollow: (() => void)[] = [];
  #state: LayoutChangeState = 'queued';
  /** Earlier changes of overlapping bytes that have not ended. */
  #earlier = 0;
  #onTurn: (() => void) | undefined;
  #onAbort: ((error: DaxdError) => void) | undefined;
  #aborted: DaxdError | undefined;
  #wasBroken = false;
  /** How long the wait took, once it is over. */
  #tookMs: number | undefined;

  constructor(id: string, request: LayoutChangeRequest, clock: Clock) {
    const { op, inode, path, from, to, pages, defer = false, evict } = request;
    assert(from >= 0 && to >= from, `${op} changes bytes ${from} to ${to}, in this order`);
    this.id = id;
    this.op = op;
    this.inode = inode;
    this.path = path;
    this.from = from;
    this.to = to;
    this.defers = defer;
    this.#evict = evict;
    this.evicts = evict !== undefined;
    this.pages = pages;
    this.deadlineMs = request.deadlineMs;
    this.onWait = request.onWait;
    this.startedWallMs = clock.wallMs();
    this.#clock = clock;
    this.#startedMs = clock.nowMs();
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
    return this.#wasBroken ? undefined : this.#aborted?.code;
  }

  /** Aborted, with a DaxdError as its reason, when the wait is to be given up. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#aborted !== undefined) this.#abort.abort(this.#aborted);
    return this.#abort.signal;
  }

  waitedMs(): number {
    const waitedMs = this.#tookMs ?? this.#clock.nowMs() - this.#startedMs;
    // The clock's fractions below a microsecond are noise that people would have to read.
    return Math.round(waitedMs * 1000) / 1000;
  }

  overlaps(from: number, to: number): boolean {
    return this.from < to && from < this.to;
  }

  /** Gives the wait up with what `error` makes when `signal` aborts, or at once where it has. */
  follow(signal: AbortSignal, error: () => DaxdError): void {
    const onAbort = (): void => {
      this.abort(error());
    };
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort);
    this.#unfollow.push(() => {
      signal.removeEventListener('abort', onAbort);
    });
  }

  cancel(): void {
    this.abort(this.#cancelled());
  }

  /** Gives the wait up with `error`; the first error counts. */
  abort(error: DaxdError): void {
    this.#aborted ??= error;
    this.#abort?.abort(this.#aborted);
    this.#onAbort?.(this.#aborted);
  }

  /** Notes an earlier change that this one must let pass. */
  addEarlier(): void {
    this.#earlier++;
  }

  /** Notes that an earlier change ended. */
  earlierEnded(): void {
    assert(this.#earlier > 0, 'an earlier change ends once');
    this.#earlier--;
    if (this.#earlier === 0) this.#onTurn?.();
  }

  /** Whether an earlier change has to end first. */
  get queued(): boolean {
    return this.#earlier > 0;
  }

  /**
   * Settles when no earlier change is left. Rejects with the reason of an abort, which a
   * turn that has come already beats.
   */
  turn(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#aborted !== undefined) reject(this.#aborted);
      this.#onTurn = resolve;
      this.#onAbort = reject;
    });
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
  async evicted(): Promise<void> {
    await this.#evict?.(this, this.signal);
    if (this.#aborted !== undefined) throw this.#aborted;
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
    for (const unfollow of this.#unfollow.splice(0)) unfollow();
    this.#onTurn = undefined;
    this.#onAbort = undefined;
    this.#state = next;
  }

  #cancelled(): DaxdError {
    return new DaxdError(
      'cancelled',
      `${this.op} of inode ${this.inode} was cancelled while it waited; the file is unchanged`,
    );
  }
}

function reasonOf({ reason }: AbortSignal): DaxdError | undefined {
  return reason instanceof DaxdError ? reason : undefined;
}
