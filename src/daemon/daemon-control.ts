import type {
  AskedOperation,
  Control,
  KeptChange,
  MountOptions,
  MountedFiles,
} from '../http/control.js';
import type { Device } from '../http/schemas/device.js';
import type { NbdExports } from '../http/schemas/nbd.js';
import type { Operation } from '../http/schemas/operation.js';
import type { Partition as PartitionBody } from '../http/schemas/partition.js';
import type { QuarantineEntry } from '../http/schemas/quarantine.js';
import type { Logger } from '../lib/logger.js';
import type { Leases } from '../lease/leases.js';
import { counted } from '../lib/counted.js';
import { DaxdError } from '../lib/errno.js';
import { UsageRef } from '../lib/usage-ref.js';
import type { Backing } from '../media/backing.js';
import type { NbdServer } from '../nbd/nbd-server.js';
import type { Memremap } from '../mm/memremap.js';
import type { PmemDevice } from '../nvdimm/pmem-device.js';
import type { KeptOperations } from './kept-operations.js';
import type { Mounts } from './mounts.js';
import type { Operations } from './operations.js';
import { attestEntry, quarantineEntries } from './quarantine-report.js';
import { deviceBody, partitionBody, pinnedPagesIn } from './reports.js';

/** What the control stands on. */
export interface DaemonControlOptions {
  readonly backing: Backing;
  readonly pmem: PmemDevice;
  readonly memremap: Memremap;
  readonly mounts: Mounts;
  readonly leases: Leases;
  readonly operations: Operations;
  readonly kept: KeptOperations;
  readonly log: Logger;
}

/** What the HTTP routes ask, answered by the parts of the daemon. */
export class DaemonControl implements Control {
  readonly leases: Leases;
  readonly #options: DaemonControlOptions;
  /** Changes of the table and of mounts under way. */
  readonly #changes = new UsageRef();
  #nbd: NbdServer | undefined;

  constructor(options: DaemonControlOptions) {
    this.#options = options;
    this.leases = options.leases;
  }

  /** The server of block clients; undefined where there is none. */
  get nbd(): NbdServer | undefined {
    return this.#nbd;
  }

  /** Takes note of the server, which comes last. */
  serveNbd(server: NbdServer): void {
    this.#nbd = server;
  }

  get draining(): boolean {
    return this.#changes.dying;
  }

  /** Refuses new leases and changes from now on, those that wait too. */
  drain(): void {
    this.#changes.kill();
    this.#options.mounts.drain();
    this.#options.kept.drain();
    this.leases.drain();
    this.#nbd?.drain();
  }

  /**
   * Settles when no change of the table or of a mount is under way, and no operation that
   * outlived its call; `drain` comes first.
   */
  async whenUnchanging(): Promise<void> {
    await this.#changes.whenZero();
    await this.#options.operations.whenNoneKept();
  }

  device(): Device {
    const { backing, pmem, memremap } = this.#options;
    return deviceBody(backing, pmem, memremap);
  }

  partitions(): PartitionBody[] {
    const { mounts } = this.#options;
    return mounts.partitions.map((partition) => partitionBody(partition, mounts));
  }

  async addPartition(options: {
    readonly sizeBytes?: number;
    readonly label: string;
  }): Promise<PartitionBody> {
    const { pmem, mounts } = this.#options;
    const partition = await this.#change(() => pmem.disk.addPartition(options));
    return partitionBody(partition, mounts);
  }

  async deletePartition(
    name: string,
    { disconnect }: { readonly disconnect: boolean },
  ): Promise<void> {
    this.#refuseLeased(name);
    const remove = async (): Promise<void> => {
      await this.#options.pmem.disk.deletePartition(name);
    };
    await this.#change(async () => {
      if (disconnect && this.#nbd !== undefined) await this.#nbd.withoutClients(name, remove);
      else await remove();
    });
  }

  nbdExports(): NbdExports {
    const exports = this.#nbd?.list() ?? [];
    return {
      listen: [...(this.#nbd?.uris ?? [])],
      exports: exports.map(({ name, description, sizeBytes: size, readOnly, clients }) => ({
        name,
        description,
        size,
        read_only: readOnly,
        clients,
      })),
    };
  }

  async format(
    name: string,
    options: { readonly label?: string; readonly force: boolean },
  ): Promise<PartitionBody> {
    this.#refuseLeased(name);
    await this.#change(() => this.#options.mounts.format(name, options));
    return this.#partition(name);
  }

  async mount(name: string, options: MountOptions): Promise<PartitionBody> {
    await this.#change(() => this.#options.mounts.mount(name, options));
    return this.#partition(name);
  }

  async unmount(name: string): Promise<PartitionBody> {
    this.#refuseLeased(name);
    await this.#change(() => this.#options.mounts.unmount(name));
    return this.#partition(name);
  }

  files(name: string): MountedFiles {
    const { fs } = this.#options.mounts.mountOf(name);
    const { pgmap } = this.#options.pmem;
    return {
      fs,
      startBytes: fs.range.start,
      pinnedPages: (extents) => {
        const pages = extents.map(({ mediaOffset: offset, length }) =>
          pinnedPagesIn(pgmap, fs.range, { offset, length }),
        );
        return pages.reduce((total, count) => total + count, 0);
      },
    };
  }

  operations(cursor: string): Iterable<Operation> {
    return this.#options.operations.after(cursor);
  }

  holdersOf(operation: string): readonly string[] {
    return this.#options.operations.holdersOf(operation);
  }

  async operation(id: string, waitMs: number, signal: AbortSignal): Promise<Operation> {
    return this.#options.operations.get(id, waitMs, signal);
  }

  async cancelOperation(id: string, signal: AbortSignal): Promise<Operation> {
    return this.#options.operations.cancel(id, signal);
  }

  keptChange(asked: AskedOperation): KeptChange {
    return this.#options.kept.keptChange(asked);
  }

  quarantine(cursor: string | undefined): Iterable<QuarantineEntry> {
    return quarantineEntries(this.leases, cursor);
  }

  async attest(id: string, reason: string): Promise<void> {
    await attestEntry(this.leases, id, reason);
    this.#options.log.warn({ quarantine: id, reason }, 'freed on the word of a caller');
  }

  ready(): { readonly ready: boolean; readonly reasons: readonly string[] } {
    const failed = this.#options.mounts.mounted.flatMap(({ partition, fs }) =>
      fs.failure === undefined ? [] : [`${partition.name} is read-only: ${fs.failure}`],
    );
    const missing = this.#options.mounts.missing.map(
      ({ partition, detail }) => `${partition} is not mounted: ${detail}`,
    );
    let foreign = 0;
    for (const { quarantined } of this.leases.quarantined) {
      if (quarantined?.cause === 'foreign') foreign++;
    }
    const held = foreign === 0 ? [] : [`the media were changed under ${counted(foreign, 'lease')}`];
    const shrunk = reasonAgainst(() => {
      this.#options.backing.checkSize();
    });
    const reasons = [
      ...(this.draining ? ['draining'] : []),
      ...shrunk,
      ...missing,
      ...failed,
      ...held,
    ];
    return { ready: reasons.length === 0, reasons };
  }

  /** An earlier daemon may have granted leases on what is not mounted now. */
  #refuseLeased(name: string): void {
    const held = this.leases.countOn(name);
    if (held > 0) {
      throw new DaxdError(
        'EBUSY',
        `${name} has ${counted(held, 'lease')}: end what is leased first (GET /v1/leases?partition=${name})`,
      );
    }
    const unknown = this.leases.quarantine.unknown.filter(({ partition }) => partition === name);
    if (unknown.length > 0) {
      throw new DaxdError(
        'EBUSY',
        `${unknown.length} places of ${name} are in quarantine, and nobody knows for whom: ` +
          'attest them first (GET /v1/quarantine)',
      );
    }
  }

  async #change<T>(work: () => Promise<T>): Promise<T> {
    if (!this.#changes.tryGet()) throw new DaxdError('draining', 'daxd is shutting down');
    try {
      return await work();
    } finally {
      this.#changes.put();
    }
  }

  #partition(name: string): PartitionBody {
    return partitionBody(this.#options.pmem.disk.partition(name), this.#options.mounts);
  }
}

/** What a check says that fails. */
function reasonAgainst(check: () => void): string[] {
  try {
    check();
    return [];
  } catch (error) {
    if (error instanceof DaxdError) return [error.message];
    throw error;
  }
}
