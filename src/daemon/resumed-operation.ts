import { LayoutChange } from '../dax/layout-change.js';
import type { LayoutChangeRequest } from '../dax/layout-change.js';
import { ConflictTerms, changeFile } from '../http/file-change.js';
import type { LayoutChanger } from '../http/file-change.js';
import { WaitLimit, holdersIn } from '../http/patience.js';
import type { LayoutChanged } from '../http/schemas/file.js';
import type { FileChange, KeptOperation } from '../lease/kept-operation.js';
import type { FilesystemTarget } from '../lease/lease-target.js';
import type { Leases } from '../lease/leases.js';
import { whyOther } from '../lease/restored-leases.js';
import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import { DurableChange } from './kept-change.js';
import type { KeptChangePorts } from './kept-change.js';
import type { Operations } from './operations.js';

/** What a {@link ResumedOperation} works with. */
export interface ResumePorts extends KeptChangePorts {
  readonly operations: Operations;
  readonly leases: { readonly revocation: Pick<Leases['revocation'], 'evict'> };
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
  readonly #operations: Operations;
  readonly #durable: DurableChange;
  readonly #limit: WaitLimit;
  readonly #terms: ConflictTerms;
  readonly #startedMs: number;
  /** Stands for it while it is parked; undefined afterwards. */
  #parked: LayoutChange | undefined;
  #resolve: (work: Promise<LayoutChanged>) => void = () => {};

  constructor(record: KeptOperation, ports: ResumePorts) {
    const { operations, clock, leases, bootId } = ports;
    const { id, partition, inode, onConflict, deadlineMs } = record;
    this.record = record;
    this.#operations = operations;
    this.#durable = new DurableChange(ports, record);
    this.#startedMs = startedMs(record, bootId, clock);
    this.#terms = new ConflictTerms(leases.revocation, partition, onConflict);
    const isLimited = onConflict !== 'revoke' && deadlineMs !== undefined;
    const restMs = isLimited ? this.#startedMs + deadlineMs - clock.nowMs() : undefined;
    const holders = (): string[] => holdersIn(operations.list(), partition, inode);
    this.#limit = WaitLimit.rest({ deadlineMs, restMs }, { clock, holders });
    this.#parked = new LayoutChange(id, this.#request(), clock);
    const work = this.#durable.until(this.#whenStarted()).finally(this.#limit.done);
    operations.track(partition, this.#parked);
    operations.keep(id, work, this.#limit.cancel);
    this.ended = Promise.allSettled([work]);
  }

  /** Goes on with it: when this returns its barrier is up, or it has failed. */
  start(mount: ChangedMount): void {
    // The change that is about to come takes its place with those who watch.
    if (this.#unpark() === undefined) return;
    const work = this.#run(mount);
    this.#resolve(this.#terms.answer(work));
  }

  /** Ends it while it is parked. */
  end(error: DaxdError): void {
    this.#limit.cancel(error);
  }

  async #whenStarted(): Promise<LayoutChanged> {
    const { signal } = this.#limit;
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      signal.addEventListener('abort', () => {
        const parked = this.#unpark();
        if (parked === undefined) return;
        this.#operations.ended(parked);
        reject(signal.reason);
      });
    });
  }

  #unpark(): LayoutChange | undefined {
    const parked = this.#parked;
    this.#parked = undefined;
    parked?.ended();
    return parked;
  }

  async #run({ fs, leaseTarget: { media } }: ChangedMount): Promise<LayoutChanged> {
    const { partition, inode, generation, path, change, deadlineMs } = this.record;
    const why = whyOther(this.record.media, media);
    if (why !== undefined) throw this.#gone(`${partition} is of other media: ${why}`);
    if (fs.fileOf(inode).generation !== generation) throw this.#gone(`it was removed`);
    const { defer, evict } = this.#terms;
    const { signal } = this.#limit;
    const { onBegin } = this.#durable;
    const { resumed } = this.#request();
    const options = { path, signal, deadlineMs, defer, evict, onBegin, resumed };
    return changeFile(fs, inode, change, options);
  }

  #gone(why: string): DaxdError {
    const { change, inode, path } = this.record;
    return new DaxdError('ENOENT', `${change.op}: inode ${inode}, ${path}, is gone: ${why}`);
  }

  #request() {
    const { id, inode, path, change, deadlineMs, startedWallMs } = this.record;
    return {
      op: change.op,
      inode,
      path,
      ...bytesOf(change),
      pages: () => [],
      deadlineMs,
      defer: this.#terms.defer,
      evict: this.#terms.evict,
      signal: this.#limit.signal,
      resumed: { id, startedMs: this.#startedMs, startedWallMs },
    } satisfies LayoutChangeRequest;
  }
}

/** The bytes that a change is about, as far as that is known without the file. */
function bytesOf(change: FileChange): { readonly from: number; readonly to: number } {
  if (change.op === 'truncate') return { from: change.size, to: Infinity };
  const { op, offset, length } = change;
  const isShift = op === 'collapse-range' || op === 'insert-range';
  return { from: offset, to: isShift ? Infinity : offset + length };
}

/** When it was asked for, on the clock of this boot. */
function startedMs(record: KeptOperation, bootId: string, clock: Clock): number {
  if (record.bootId === bootId) return record.startedMs;
  // Times of another boot mean nothing in this one; the wall clock may have been set back since.
  return clock.nowMs() - Math.max(0, clock.wallMs() - record.startedWallMs);
}
