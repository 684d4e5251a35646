import type { AskedOperation } from '../http/control.js';
import type { KeptOperation } from '../lease/kept-operation.js';
import type { LeaseStore } from '../lease/lease-store.js';
import { DaxdError } from '../lib/errno.js';
import type { SortableIds } from '../lib/sortable-id.js';
import { DurableChange } from './kept-change.js';
import type { Mounts } from './mounts.js';
import { ResumedOperation } from './resumed-operation.js';
import type { ChangedMount, ResumePorts } from './resumed-operation.js';

/** What {@link KeptOperations} stand on. */
export interface KeptOperationsOptions extends ResumePorts {
  readonly store: LeaseStore;
  readonly mounts: Pick<Mounts, 'identify'> & { mountOf(name: string): ChangedMount };
  readonly ids: SortableIds;
}

/**
 * The operations that outlive their clients and this daemon. Those of an earlier one go on once
 * their partition is mounted for writing; until then they wait.
 */
export class KeptOperations {
  readonly #options: KeptOperationsOptions;
  /** Ascending by id, which is their order in the queue. */
  #parked: readonly ResumedOperation[] = [];

  constructor(options: KeptOperationsOptions) {
    this.#options = options;
  }

  /** What a change needs to be kept. @throws DaxdError ENODEV, ENOENT. */
  keptChange(asked: AskedOperation): DurableChange {
    const { mounts, bootId } = this.#options;
    const { fs, leaseTarget } = mounts.mountOf(asked.partition);
    const { generation } = fs.fileOf(asked.inode);
    const { media } = leaseTarget;
    return new DurableChange(this.#options, { ...asked, media, generation, bootId });
  }

  /**
   * Takes in what the store keeps. To be called before anything is mounted; what cannot go on
   * has ended, durably, when this settles.
   *
   * @throws DaxdError EBADMSG for a damaged store.
   */
  async restore(): Promise<void> {
    const { store, ids, log } = this.#options;
    const records = [...store.operations()];
    const last = records.at(-1);
    if (last === undefined) return;
    ids.follow(last.id);
    log.info({ operations: records.length }, 'operations of an earlier run: they go on');
    this.#parked = records.map((record) => ResumedOperation.park(record, this.#options));
    await Promise.all(
      this.#parked.map(async (operation) => {
        const why = this.#refusal(operation.record);
        if (why === undefined) return;
        log.warn({ operation: operation.record.id, code: why.code }, why.message);
        operation.end(why);
        await operation.ended;
      }),
    );
  }

  /** Goes on with what waits for a filesystem. To be called before anybody else has it. */
  mounted(mount: ChangedMount): void {
    if (mount.fs.readOnly) return;
    const isOn = ({ record }: ResumedOperation): boolean =>
      record.partition === mount.partition.name;
    const here = this.#parked.filter(isOn);
    this.#parked = this.#parked.filter((one) => !isOn(one));
    for (const operation of here) operation.start(mount);
  }

  /** Leaves what is not mounted to the next daemon. */
  drain(): void {
    for (const operation of this.#parked) {
      const { id, change } = operation.record;
      operation.end(
        new DaxdError('draining', `${change.op} ${id} waits on: the daemon is shutting down`),
      );
    }
  }

  #refusal({ id, partition, inode, change, begun }: KeptOperation): DaxdError | undefined {
    const what = `${change.op} ${id} of inode ${inode}`;
    if (begun) {
      return new DaxdError(
        'interrupted',
        `${what} was under way when daxd ended: whether the file has changed cannot be told, look at it. It is not run again`,
      );
    }
    if (this.#options.mounts.identify(partition) !== undefined) return undefined;
    return new DaxdError('ENOENT', `${what}: there is no ${partition} any more`);
  }
}
