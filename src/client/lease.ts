import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { systemClock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { LentMapping } from '../media/lent-mapping.js';
import { ClientError } from './client-error.js';
import type { Call, Connection } from './connection.js';
import type { DaemonEvent } from './event-watch.js';
import type { LeaseView, LentBytes, LentExtent, OperationView, Recall } from './lease-view.js';
import { Renewal } from './renewal.js';

/** Mapped bytes of a lease. */
export interface LentBuffer {
  /** Where they begin in the file, or in the raw partition. */
  readonly fileOffset: number;
  readonly bytes: Buffer;
}

/** What a {@link Lease} tells of, and what it says with it. */
export interface LeaseEvents {
  /** A change of the file waits for the lease: release it soon. */
  recall: [recall: Recall];
  /** It was not renewed in time: its rights are gone, its pages may be there still. */
  suspect: [];
  /** It is active again. */
  active: [];
  /** It ended without a release: nothing of it may be touched any more. */
  lost: [reason: ClientError];
}

/** What a lease works with. */
export interface LeaseHome {
  readonly connection: Connection;
  /** Told when the lease is over. */
  readonly over: (lease: Lease) => void;
}

/** How long a release tries to reach the daemon, and the pause between two tries, in milliseconds. */
const RELEASE_MS = 10_000;
const RELEASE_RETRY_MS = 100;
/** How long a renewal may take, in milliseconds; less where the ttl is short. */
const RENEW_MS_MAX = 10_000;

/**
 * A range of a file that is pinned for this process. It renews itself until it is released.
 *
 *     active <--renewed-- suspect
 *       |  \--ttl over-->    |
 *       +------ release -----+--> released
 *       +-- revoked, unknown-+--> lost
 */
export class Lease extends EventEmitter<LeaseEvents> {
  readonly id: string;
  readonly ttlMs: number;
  readonly access: 'read' | 'write';
  readonly backingPath: string;
  /** Where its bytes lie in the backing; holes are left out of a read lease. */
  readonly extents: readonly LentExtent[];
  readonly #home: LeaseHome;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #ranges: readonly LentBytes[];
  readonly #renewal: Renewal;
  /** Operations whose recall was told. */
  readonly #recalled = new Set<string>();
  #state: 'active' | 'suspect' | 'released' | 'lost' = 'active';
  #mapping: Promise<LentMapping> | undefined;
  #mapped: LentMapping | undefined;
  #releasing: Promise<void> | undefined;
  /** Whether the daemon knows that it is released. */
  #isReturned = false;

  /** @param sentMs when it was asked for, on the system's clock. */
  constructor(view: LeaseView, sentMs: number, home: LeaseHome) {
    super();
    this.id = view.id;
    this.ttlMs = view.ttl_ms;
    this.access = view.access;
    this.backingPath = view.backing_path;
    this.extents = view.extents;
    this.#ranges = view.ranges;
    this.#headers = view.secret === undefined ? {} : { 'lease-secret': view.secret };
    this.#home = home;
    this.#renewal = new Renewal(view.ttl_ms, {
      renew: () => this.#renew(),
      failed: (error) => this.#renewFailed(error),
      lapsed: () => {
        this.#lapse();
      },
    });
    this.#renewal.granted(sentMs, view.remaining_ttl_ms);
  }

  /** Where it stands, as far as this process knows. */
  get state(): 'active' | 'suspect' | 'released' | 'lost' {
    return this.#state;
  }

  /**
   * The bytes of the lease, mapped from the backing; those of a read lease are write-protected,
   * and a store to one ends the process. When the lease is over they are bytes of this process
   * alone. The first call maps, and waits for it; later ones give the same.
   *
   * @throws ClientError EOPNOTSUPP where nothing can be mapped here; with the errno of open(2)
   *   or mmap(2); ESHUTDOWN when the lease is over.
   */
  async buffers(): Promise<readonly LentBuffer[]> {
    this.#refuseOver();
    this.#mapping ??= this.#map();
    const mapping = await this.#mapping;
    this.#refuseOver();
    return mapping.views.map(({ offset, bytes }) => ({
      fileOffset: this.#fileOffset(offset),
      bytes,
    }));
  }

  /**
   * Gives the lease back: first its buffers are cut off from the backing, then the daemon is
   * told. Again, and after it was lost, it does nothing.
   *
   * @throws ClientError when the daemon cannot be reached for ten seconds: call it again.
   */
  async release(): Promise<void> {
    this.#releasing ??= this.#release();
    try {
      await this.#releasing;
    } finally {
      this.#releasing = undefined;
    }
  }

  /** {@link release}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  /** Takes note of an event of the daemon about this lease. */
  observe({ name, fields }: DaemonEvent): void {
    if (this.#isOver) return;
    if (name === 'recall') this.#recall(recallOf(fields));
    else if (name === 'lease.lapsed') this.#renewal.now();
    else if (name === 'lease.released' || name === 'lease.revoked') {
      const { reason } = fields;
      const why = typeof reason === 'string' ? reason : name;
      this.#lose(new ClientError('ENOENT', `lease ${this.id} was ended: ${why}`));
    }
  }

  /** Takes note of what waits, where recalls may have been missed. */
  observeOperations(operations: readonly OperationView[]): void {
    for (const operation of operations) {
      if (!operation.blocked_by.includes(this.id) || this.#isOver) continue;
      const { id, op, deadline_ms: deadlineMs } = operation;
      const ranges = overlaps(this.#ranges, operation);
      this.#recall({
        operation: id,
        op,
        ranges,
        ...(deadlineMs !== undefined && { deadline_ms: deadlineMs }),
      });
    }
    // Whether it is known at all, the daemon says to a renewal.
    this.#renewal.now();
  }

  get #isOver(): boolean {
    return this.#state === 'released' || this.#state === 'lost';
  }

  #recall(recall: Recall): void {
    if (this.#recalled.has(recall.operation)) return;
    this.#recalled.add(recall.operation);
    this.emit('recall', recall);
  }

  async #renew(): Promise<number> {
    const view = await this.#call<LeaseView>({
      method: 'POST',
      path: `${this.#path}/renew`,
      json: {},
      signal: AbortSignal.timeout(Math.min(RENEW_MS_MAX, this.ttlMs / 2)),
    });
    if (this.#isOver) return 0;
    if (this.#state === 'suspect') {
      this.#state = 'active';
      this.emit('active');
    }
    for (const recall of view?.recalls ?? []) this.#recall(recall);
    return view?.remaining_ttl_ms ?? 0;
  }

  #renewFailed(error: unknown): boolean {
    if (!(error instanceof ClientError)) throw error;
    if (!error.isGone) return true;
    this.#lose(error);
    return false;
  }

  #lapse(): void {
    this.#state = 'suspect';
    this.emit('suspect');
  }

  #lose(reason: ClientError): void {
    this.#state = 'lost';
    this.#cutOff();
    this.emit('lost', reason);
  }

  async #release(): Promise<void> {
    if (this.#state === 'lost' || this.#isReturned) return;
    if (this.#state !== 'released') {
      this.#state = 'released';
      this.#cutOff();
    }
    const untilMs = systemClock.nowMs() + RELEASE_MS;
    while (!this.#isReturned) {
      try {
        await this.#call({ method: 'DELETE', path: this.#path });
        this.#isReturned = true;
      } catch (error) {
        if (!(error instanceof ClientError)) throw error;
        this.#isReturned = error.isGone;
        if (!error.isGone && (!error.isPassing || systemClock.nowMs() > untilMs)) throw error;
        await sleep(RELEASE_RETRY_MS);
      }
    }
  }

  /** From here on no view of it reaches the backing. */
  #cutOff(): void {
    this.#renewal.stop();
    this.#mapped?.cover();
    this.#home.over(this);
  }

  async #map(): Promise<LentMapping> {
    const { LentMapping } = await loadMapping();
    const ranges = this.extents.map(({ device_offset: offset, length }) => ({ offset, length }));
    const readOnly = this.access === 'read';
    try {
      const mapping = await LentMapping.open({ path: this.backingPath, ranges, readOnly });
      this.#mapped = mapping;
      if (this.#isOver) mapping.cover();
      return mapping;
    } catch (cause) {
      if (!(cause instanceof DaxdError)) throw cause;
      throw new ClientError(cause.code, cause.message, { cause });
    }
  }

  #fileOffset(deviceOffset: number): number {
    const extent = this.extents.find(
      ({ device_offset: start, length }) => deviceOffset >= start && deviceOffset < start + length,
    );
    return extent === undefined ? 0 : extent.file_offset + (deviceOffset - extent.device_offset);
  }

  #refuseOver(): void {
    if (!this.#isOver) return;
    throw new ClientError('ESHUTDOWN', `lease ${this.id} is ${this.#state}: ask for a new one`);
  }

  get #path(): string {
    return `/v1/leases/${encodeURIComponent(this.id)}`;
  }

  async #call<Answer>(call: Call): Promise<Answer | undefined> {
    return this.#home.connection.call<Answer>({ ...call, headers: this.#headers });
  }
}

/** Loaded at the first use alone: it needs koffi, which not every user of leases has. */
async function loadMapping(): Promise<typeof import('../media/lent-mapping.js')> {
  try {
    return await import('../media/lent-mapping.js');
  } catch (cause) {
    const message =
      'nothing can be mapped here: koffi cannot be loaded; map backing_path by other means';
    throw new ClientError('EOPNOTSUPP', message, { cause });
  }
}

function recallOf(fields: DaemonEvent['fields']): Recall {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as the schema of the daemon has it
  return fields as unknown as Recall;
}

function overlaps(ranges: readonly LentBytes[], { offset, end }: OperationView): LentBytes[] {
  return ranges.flatMap((range) => {
    const from = Math.max(range.offset, offset);
    const to = Math.min(range.offset + range.length, end ?? Infinity);
    return from < to ? [{ offset: from, length: to - from }] : [];
  });
}
