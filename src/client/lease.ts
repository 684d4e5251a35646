import { EventEmitter } from 'node:events';

import { setPromptTimer, systemClock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { LentMapping, LentView } from '../media/lent-mapping.js';
import { ClientError } from './client-error.js';
import type { Call, Connection } from './connection.js';
import type { DaemonEvent } from './event-watch.js';
import { insist } from './insist.js';
import type { LeaseView, LentBytes, LentExtent, OperationView, Recall } from './lease-view.js';
import { areRanges, between, clipExtents, without } from './ranges.js';
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
  /** Somebody else released a part of it: nothing of that may be touched any more. */
  shrunk: [];
  /** It ended without a release: nothing of it may be touched any more. */
  lost: [reason: ClientError];
}

/** What a lease works with. */
export interface LeaseHome {
  readonly connection: Connection;
  /** Told when the lease is over. */
  readonly over: (lease: Lease) => void;
}

/** How long a renewal may take, in milliseconds; less where the ttl is short. */
const RENEW_MS_MAX = 10_000;

/** Events behind which a renewal tells what has become of the lease. */
const LOOK_AGAIN: ReadonlySet<string> = new Set([
  'lease.lapsed',
  'lease.quarantined',
  'lease.shrunk',
]);

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
  readonly #home: LeaseHome;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #renewal: Renewal;
  /** By operation what its recall told of, until that is released: then it may ask for more. */
  readonly #recalled = new Map<string, readonly LentBytes[]>();
  #state: 'active' | 'suspect' | 'released' | 'lost' = 'active';
  /** What is not released yet. */
  #ranges: readonly LentBytes[];
  #extents: readonly LentExtent[];
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
    this.#extents = view.extents;
    this.#ranges = view.ranges;
    this.#headers = view.secret === undefined ? {} : { 'lease-secret': view.secret };
    this.#home = home;
    this.#renewal = new Renewal(view.ttl_ms, {
      clock: systemClock,
      setPromptTimer,
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

  /** Where its bytes lie in the backing; holes are left out of a read lease. */
  get extents(): readonly LentExtent[] {
    return this.#extents;
  }

  /**
   * The bytes of the lease, mapped from the backing; those of a read lease are write-protected,
   * and a store to one ends the process. When the lease is over they are bytes of this process
   * alone. The first call maps, and waits for it; later ones give the same, less what was released.
   *
   * @throws ClientError EOPNOTSUPP where nothing can be mapped here; with the errno of open(2)
   *   or mmap(2); ESHUTDOWN when the lease is over.
   */
  async buffers(): Promise<readonly LentBuffer[]> {
    this.#refuseOver();
    this.#mapping ??= this.#map();
    const mapping = await this.#mapping;
    this.#refuseOver();
    return mapping.views.flatMap((view) => this.#buffersOf(view));
  }

  /**
   * Answers a recall: the lease will be given back, in about `estimateMs` milliseconds from now. A
   * change that would take the lease from its holder waits that long for it, up to ten minutes
   * from the recall.
   *
   * @throws ClientError ENOENT where nothing asks for it; EINVAL for what is no whole number from 0
   *   to 600,000; ESHUTDOWN when the lease is over; what the connection says.
   */
  async acknowledge(estimateMs: number): Promise<void> {
    this.#refuseOver();
    const json = { estimate_ms: estimateMs };
    await this.#call({ method: 'POST', path: `${this.#path}/acknowledge`, json });
  }

  /**
   * Gives the lease back, or `ranges` of it, in bytes of the file: first its buffers are cut off
   * from the backing, then the daemon is told, and waited for. A page is cut off, and given
   * back, once all that was lent of it is. Of a lost lease the pages may be in quarantine for its
   * sake: this frees them, so end all DMA before it, there too. Once nothing is left it does nothing.
   *
   * @throws ClientError when the daemon cannot be reached for ten seconds, or has no room to
   *   note what is left (ENOSPC): call it again. EINVAL for what are no ranges, and where a
   *   device-dax node cannot cut.
   */
  async release(ranges?: readonly LentBytes[]): Promise<void> {
    if (ranges !== undefined && (await this.#releasePart(ranges))) return;
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
    else if (LOOK_AGAIN.has(name)) this.#renewal.now();
    else if (name === 'lease.released' || name === 'lease.revoked') {
      const { reason } = fields;
      const why = typeof reason === 'string' ? reason : name;
      this.#lose(new ClientError('ENOENT', `lease ${this.id} was ended: ${why}`));
    }
  }

  /** Takes note of what an answer of the daemon says that the lease is asked for. */
  observeRecalls(recalls: readonly Recall[] = []): void {
    if (this.#isOver) return;
    for (const recall of recalls) this.#recall(recall);
  }

  /** Takes note of what waits, where recalls may have been missed. */
  observeOperations(operations: readonly OperationView[]): void {
    for (const operation of operations) {
      if (!operation.blocked_by.includes(this.id) || this.#isOver) continue;
      const { id, op, waited_ms: waitedMs, deadline_ms: deadlineMs } = operation;
      const ranges = between(this.#ranges, operation.offset, operation.end ?? Infinity);
      this.#recall({
        operation: id,
        op,
        ranges,
        ...(deadlineMs !== undefined && {
          deadline_ms: Math.max(0, Math.floor(deadlineMs - waitedMs)),
        }),
      });
    }
    // Whether it is known at all, the daemon says to a renewal.
    this.#renewal.now();
  }

  get #isOver(): boolean {
    return this.#state === 'released' || this.#state === 'lost';
  }

  #recall(recall: Recall): void {
    const { operation, ranges } = recall;
    // An answer may have crossed the release of what it asks for.
    if (this.#recalled.has(operation) || this.#isReleased(ranges)) return;
    this.#recalled.set(operation, ranges);
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
    if (view === undefined) return 0;
    this.#follow(view.ranges);
    this.observeRecalls(view.recalls);
    return view.remaining_ttl_ms;
  }

  /** What the daemon has not of it any more, was released without this object. */
  #follow(ranges: readonly LentBytes[]): void {
    const gone = without(this.#ranges, ranges);
    if (gone.length === 0) return;
    try {
      this.#keep(without(this.#ranges, gone));
    } catch (error) {
      // Of a device-dax node that cannot cut there, nothing may be touched then.
      if (!(error instanceof ClientError)) throw error;
      this.#lose(error);
      return;
    }
    this.emit('shrunk');
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
    // Any other may be in quarantine, which only its holder ends.
    this.#isReturned = reason.code === 'ENOENT';
    this.#cutOff();
    this.emit('lost', reason);
  }

  async #release(): Promise<void> {
    if (this.#isReturned) return;
    if (!this.#isOver) {
      this.#state = 'released';
      this.#cutOff();
    }
    await this.#tell({ method: 'DELETE', path: this.#path });
    this.#isReturned = true;
  }

  /** @returns false where nothing would be left, or nothing is. */
  async #releasePart(ranges: readonly LentBytes[]): Promise<boolean> {
    if (!areRanges(ranges)) {
      throw new ClientError('EINVAL', 'offset and length of a range are whole bytes, 0 or more');
    }
    // One that is under way is of all that is lent now.
    if (this.#mapping !== undefined) await this.#mapping.catch(() => {});
    const left = without(this.#ranges, ranges);
    if (left.length === 0 || this.#state === 'released' || this.#isReturned) return false;
    this.#keep(left);
    const path = `${this.#path}/release`;
    const view = await this.#tell<LeaseView>({ method: 'POST', path, json: { ranges } });
    this.observeRecalls(view?.recalls);
    return true;
  }

  /** Calls until the daemon took note, or has nothing to take note of. */
  async #tell<Answer>(call: Call): Promise<Answer | undefined> {
    try {
      return await insist(
        () => this.#call<Answer>(call),
        (error) => error.isPassing,
      );
    } catch (error) {
      if (!(error instanceof ClientError) || !error.isGone) throw error;
      return undefined;
    }
  }

  /** Whether there are ranges, and nothing of them is left. */
  #isReleased(ranges: readonly LentBytes[]): boolean {
    const isLeft = ({ offset, length }: LentBytes): boolean =>
      between(this.#ranges, offset, offset + length).length > 0;
    return ranges.length > 0 && !ranges.some(isLeft);
  }

  /** From here on views reach the backing at these bytes of the file alone. */
  #keep(left: readonly LentBytes[]): void {
    const extents = clipExtents(this.#extents, left);
    try {
      // A lost one is cut off as a whole already; of a device-dax node a part could not be.
      if (!this.#isOver) {
        this.#mapped?.coverAllBut(
          extents.map(({ device_offset: offset, length }) => ({ offset, length })),
        );
      }
    } catch (cause) {
      throw asClientError(cause);
    }
    this.#ranges = left;
    this.#extents = extents;
    for (const [operation, ranges] of this.#recalled) {
      if (this.#isReleased(ranges)) this.#recalled.delete(operation);
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
      throw asClientError(cause);
    }
  }

  /** What of a view is lent still, with where it lies in the file. */
  #buffersOf({ offset: start, bytes }: LentView): LentBuffer[] {
    return this.#extents.flatMap(({ file_offset: fileOffset, device_offset: at, length }) =>
      between([{ offset: at, length }], start, start + bytes.length).map((lent) => ({
        fileOffset: fileOffset + (lent.offset - at),
        bytes: bytes.subarray(lent.offset - start, lent.offset - start + lent.length),
      })),
    );
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

function asClientError(cause: unknown): ClientError {
  if (!(cause instanceof DaxdError)) throw cause;
  return new ClientError(cause.code, cause.message, { cause });
}
