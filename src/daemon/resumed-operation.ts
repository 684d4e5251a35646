import { LayoutChange } from '../dax/layout-change.js';
import type { LayoutChangeRequest } from '../dax/layout-change.js';
import { ConflictTerms } from '../http/file-change.js';
import type { LayoutChanger } from '../http/file-change.js';
import { WaitLimit } from '../http/patience.js';
import { PatientChange } from '../http/patient-change.js';
import type { LayoutChanged } from '../http/schemas/file.js';
import { bytesOf } from '../lease/kept-operation.js';
import type { KeptOperation } from '../lease/kept-operation.js';
import type { FilesystemTarget } from '../lease/lease-target.js';
import type { Leases } from '../lease/leases.js';
import { whyOther } from '../lease/media-identity.js';
import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import { withResolvers } from '../lib/with-resolvers.js';
import { DurableChange } from './kept-change.js';
import type { KeptChangePorts } from './kept-change.js';
import type { Operations } from './operations.js';

/** What a {@link ResumedOperation} works with. */
export interface ResumePorts extends KeptChangePorts {
  readonly operations: Operations;
  readonly leases: { readonly revocation: Pick<Leases['revocation'], 'revokeFor'> };
  /** The boot of the machine. */
  readonly bootId: string;
}

/** What an operation goes on with: a mount, as far as it concerns it. */
export interface ChangedMount {
  readonly partition: { readonly name: string };
  readonly leaseTarget: Pick<FilesystemTarget, 'media'>;
  readonly fs: LayoutChanger & {
    readonly readOnly: boolean;
    fileOf(inode: number): { readonly generation: number };
  };
}

/**
 * An operation of an earlier daemon. It waits for its partition to be mounted, and then goes on
 * where it was: in the order of the queue, under its id, with what is left of its time.
 *
 *     parked --start--> running --> ended
 *       +---- end, abort -----------^
 */
export class ResumedOperation {
  readonly record: KeptOperation;
  /** Settles when it has ended, however it did. */
  readonly ended: Promise<unknown>;
  readonly #change: PatientChange;
  readonly #operations: Operations;
  readonly #outcome = withResolvers<LayoutChanged>();
  /** Stands for it while it is parked; undefined afterwards. */
  #parked: LayoutChange | undefined;

  private constructor(record: KeptOperation, change: PatientChange, ports: ResumePorts) {
    const { operations, clock } = ports;
    this.record = record;
    this.#change = change;
    this.#operations = operations;
    this.#parked = new LayoutChange(record.id, parkedRequest(record, change), clock);
    const { limit } = change;
    limit.signal.addEventListener('abort', () => {
      this.#giveUp(limit.signal.reason);
    });
    const work = change.until(this.#outcome.promise);
    operations.track(record.partition, this.#parked);
    operations.keep(record.id, work, limit.cancel);
    this.ended = Promise.allSettled([work]);
  }

  /** Has an operation that the store keeps wait for its partition. */
  static park(record: KeptOperation, ports: ResumePorts): ResumedOperation {
    const { operations, clock, leases, bootId } = ports;
    const { id, partition, inode, path, change, onConflict, deadlineMs, startedWallMs } = record;
    const startedMs = startedMsOf(record, bootId, clock);
    const isLimited = onConflict !== 'revoke' && deadlineMs !== undefined;
    const restMs = isLimited ? startedMs + deadlineMs - clock.nowMs() : undefined;
    const holders = (changeId: string) => operations.holdersOf(changeId);
    const patient = new PatientChange({
      inode,
      path,
      change,
      terms: new ConflictTerms(leases.revocation, partition, onConflict),
      limit: WaitLimit.rest(id, { deadlineMs, restMs }, { clock, holders }),
      kept: new DurableChange(ports, { ...record, startedMs, bootId }),
      resumed: { id, startedMs, startedWallMs },
    });
    return new ResumedOperation(record, patient, ports);
  }

  /** Goes on with it: when this returns its barrier is up, or it has failed. */
  start(mount: ChangedMount): void {
    // The change that is about to come takes its place with those who watch.
    if (this.#unpark() === undefined) return;
    this.#outcome.resolve(this.#run(mount));
  }

  /** Ends it while it is parked. */
  end(error: DaxdError): void {
    this.#change.limit.cancel(error);
  }

  /** What runs by then hears of the abort itself. */
  #giveUp(reason: unknown): void {
    const parked = this.#unpark();
    if (parked === undefined) return;
    this.#operations.ended(parked);
    this.#outcome.reject(reason);
  }

  #unpark(): LayoutChange | undefined {
    const parked = this.#parked;
    this.#parked = undefined;
    parked?.ended();
    return parked;
  }

  async #run({ fs, leaseTarget: { media } }: ChangedMount): Promise<LayoutChanged> {
    const { partition, inode, generation } = this.record;
    const why = whyOther(this.record.media, media);
    if (why !== undefined) throw this.#gone(`${partition} is of other media: ${why}`);
    if (fs.fileOf(inode).generation !== generation) throw this.#gone(`it was removed`);
    return this.#change.run(fs);
  }

  #gone(why: string): DaxdError {
    const { change, inode, path } = this.record;
    return new DaxdError('ENOENT', `${change.op}: inode ${inode}, ${path}, is gone: ${why}`);
  }
}

/** What stands for a change before there is a filesystem that knows its pages. */
function parkedRequest(
  { inode, change }: KeptOperation,
  { options }: PatientChange,
): LayoutChangeRequest {
  return { ...options, op: change.op, inode, ...bytesOf(change), pages: () => [] };
}

/** When it was asked for, on the clock of this boot. */
function startedMsOf(record: KeptOperation, bootId: string, clock: Clock): number {
  if (record.bootId === bootId) return record.startedMs;
  // Times of another boot mean nothing in this one; the wall clock may have been set back since.
  return clock.nowMs() - Math.max(0, clock.wallMs() - record.startedWallMs);
}
