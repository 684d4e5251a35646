import type { Partition } from '../block/partition.js';
import { bdevDaxSupported } from '../dax/bdev-dax-supported.js';
import type { DaxSupport } from '../dax/bdev-dax-supported.js';
import type { PendingChange } from '../dax/layout-change.js';
import type { LayoutsOptions } from '../dax/layouts.js';
import { mkfsExt4 } from '../fs/ext4/mkfs.js';
import { probeSuperblock } from '../fs/ext4/probe.js';
import type { MountOptions } from '../http/control.js';
import type { LeaseQuarantine } from '../lease/lease-quarantine.js';
import type { LeaseTarget, LeaseTargets } from '../lease/lease-target.js';
import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { ErrorCode } from '../lib/errno.js';
import type { LatencyHistogram } from '../lib/latency-histogram.js';
import type { Logger } from '../lib/logger.js';
import type { SortableIds } from '../lib/sortable-id.js';
import { PAGE_SIZE } from '../lib/units.js';
import type { Memremap } from '../mm/memremap.js';
import type { PageWaiters } from '../mm/page-waiters.js';
import type { PmemDevice } from '../nvdimm/pmem-device.js';
import { mediaIdentity } from './partition-media.js';
import { Mount } from './mount.js';
import type { MediaIdentity } from '../lease/media-identity.js';

/** Why a mount failed, kept until the next try. */
export interface MountFailure {
  readonly code: ErrorCode;
  readonly detail: string;
}

/** Told of the changes of files on every partition. */
export interface ChangeWatcher {
  /** Of each as its barrier goes up. */
  track(partition: string, change: PendingChange): void;
  /** Of each once, when it finds that it has to wait. */
  waits(change: PendingChange): void;
  /** Of each as its barrier comes down. */
  ended(change: PendingChange): void;
}

/** What the mounts of one device work with. */
export interface MountsOptions {
  readonly pmem: PmemDevice;
  readonly memremap: Memremap;
  readonly waiters: PageWaiters;
  readonly clock: Clock;
  readonly ids: SortableIds;
  readonly log: Logger;
  readonly readOnly: boolean;
  readonly pageFreeLatency: LatencyHistogram;
  readonly onWaitEnded: LayoutsOptions['onWaitEnded'];
  /** Asked of each filesystem before anybody uses it, and told of what changes defer there. */
  readonly quarantine: () => Pick<LeaseQuarantine, 'deferred' | 'refusal' | 'verify'>;
  /** Has the store know the media as daxd leaves them, so that it takes no older copy later. */
  readonly noteLeft: (partition: string, media: MediaIdentity) => Promise<void>;
  readonly changes: ChangeWatcher;
  /**
   * Told of each mount before anybody else has it; where it must not change then, again as soon as
   * it may.
   */
  readonly onMount: (mount: Mount) => void;
}

/** The filesystems of one device: what is mounted where, and what leases can stand on. */
export class Mounts implements LeaseTargets {
  readonly #options: MountsOptions;
  readonly #mounts = new Map<string, Mount>();
  /** By the partition itself: one that is added later may have the name of a deleted one. */
  readonly #failures = new WeakMap<Partition, MountFailure>();
  /** What the start was to mount, and could not. */
  #missed: readonly Partition[] = [];
  #draining = false;

  constructor(options: MountsOptions) {
    this.#options = options;
  }

  /** Every partition, and the whole disk where a filesystem lies on it. */
  get partitions(): readonly Partition[] {
    const { disk } = this.#options.pmem;
    return disk.wholeDisk === undefined ? disk.partitions : [disk.wholeDisk, ...disk.partitions];
  }

  /** What is mounted now. */
  get mounted(): readonly Mount[] {
    return [...this.#mounts.values()].filter(({ live }) => live);
  }

  /** Why the last try to mount a partition failed. */
  failure(partition: Partition): MountFailure | undefined {
    return this.#failures.get(partition);
  }

  /** What the start was to mount, and is not mounted yet, with the reason. */
  get missing(): readonly (MountFailure & { readonly partition: string })[] {
    return this.#missed.flatMap((partition) => {
      const failure = this.#failures.get(partition);
      return failure === undefined ? [] : [{ partition: partition.name, ...failure }];
    });
  }

  /** The filesystem on a partition, unless it is not mounted. */
  find(name: string): Mount | undefined {
    return this.#mounts.get(name);
  }

  /** @throws DaxdError ENODEV when it is not mounted, EBUSY while it is being unmounted, ENOENT. */
  mountOf(name: string): Mount {
    const mount = this.#mounts.get(name);
    if (mount?.live === true) return mount;
    const partition = this.#options.pmem.disk.partition(name);
    const { name: known } = partition;
    if (mount !== undefined) throw new DaxdError('EBUSY', `${known} is being unmounted`);
    const failure = this.#failures.get(partition);
    const why = failure === undefined ? '' : `: ${failure.detail}`;
    throw new DaxdError(
      'ENODEV',
      `${known} is not mounted${why}: daxd mount ${known}, or POST /v1/partitions/${known}/mount`,
    );
  }

  /** Whether a filesystem on the partition can lend its pages. */
  daxSupport({ startBytes, sizeBytes }: Partition): DaxSupport {
    const { memremap, pmem } = this.#options;
    const { daxDevice } = pmem;
    return bdevDaxSupported({ startBytes, sizeBytes, daxDevice, memremap, blockSize: PAGE_SIZE });
  }

  /** @throws DaxdError as {@link LeaseTargets.target} says. */
  target(name: string): LeaseTarget {
    const mount = this.#mounts.get(name);
    if (mount?.live === false) throw new DaxdError('EBUSY', `${name} is being unmounted`);
    const partition = mount?.partition ?? this.#options.pmem.disk.partition(name);
    const dax = mount?.dax ?? this.daxSupport(partition);
    if (!dax.supported) {
      throw new DaxdError('EOPNOTSUPP', `${name} has no direct access: ${dax.reason}`);
    }
    if (mount !== undefined) return mount.leaseTarget;
    return {
      kind: 'raw',
      media: mediaIdentity(partition),
      range: partition.range,
      claim: (holder) => partition.claim(holder, 'shared'),
    };
  }

  /** @see LeaseTargets.identify */
  identify(name: string): MediaIdentity | undefined {
    const partition = this.partitions.find((one) => one.name === name);
    return partition && mediaIdentity(partition);
  }

  /** Mounts what `--mount` says; a failure is kept and logged, and the others go on. */
  async mountAtStart(which: string): Promise<void> {
    if (which === 'none') return;
    const chosen =
      which === 'auto' ? this.#everyExt4() : [this.#options.pmem.disk.partition(which).name];
    for (const name of chosen) {
      try {
        await this.mount(name, {});
      } catch (error) {
        // It shows in filesystem.error; anything but a refusal is a defect.
        if (!(error instanceof DaxdError)) throw error;
        this.#missed = [...this.#missed, this.#options.pmem.disk.partition(name)];
        this.#options.log.error(
          { partition: name, code: error.code },
          `not mounted: ${error.message}`,
        );
      }
    }
  }

  /** @throws DaxdError ENOENT; EBUSY when it is in use; EROFS; `draining`; what the mount says. */
  async mount(name: string, { readOnly = this.#options.readOnly }: MountOptions): Promise<void> {
    if (!readOnly && this.#options.readOnly) {
      throw new DaxdError('EROFS', 'daxd was started with --read-only: mount it read-only');
    }
    const partition = this.#options.pmem.disk.partition(name);
    try {
      const mount = await Mount.open(partition, readOnly, this.#ports(partition));
      const quarantine = this.#options.quarantine();
      mount.fs.quarantine.onMoved(async (move) => {
        await quarantine.deferred(name, mount.fs.range.start, move);
      });
      const refusal = await quarantine.verify(name, mount.leaseTarget, () => {
        if (mount.live && this.#mounts.get(name) === mount) this.#options.onMount(mount);
      });
      if (refusal !== undefined) mount.fs.refuseChangesWhile(() => quarantine.refusal(name));
      await this.#options.noteLeft(name, mount.leaseTarget.media);
      this.#mounts.set(name, mount);
      this.#failures.delete(partition);
      if (this.#draining) mount.layouts.drain();
      this.#options.onMount(mount);
    } catch (error) {
      if (error instanceof DaxdError && !this.#mounts.has(name)) {
        this.#failures.set(partition, { code: error.code, detail: error.message });
      }
      throw error;
    }
  }

  /** @throws DaxdError EINVAL when it is not mounted; ENOENT; what the unmount says. */
  async unmount(name: string): Promise<void> {
    const mount = this.#mounts.get(this.#options.pmem.disk.partition(name).name);
    if (mount === undefined) throw new DaxdError('EINVAL', `${name} is not mounted`);
    await this.#close(mount);
  }

  /**
   * Makes an ext4 on a partition.
   *
   * @throws DaxdError EEXIST over a known signature without `force`; EBUSY when it is in use;
   *   ENOENT; EROFS; EINVAL.
   */
  async format(
    name: string,
    { label = '', force }: { readonly label?: string; readonly force: boolean },
  ): Promise<void> {
    const partition = this.#options.pmem.disk.partition(name);
    const claim = partition.claim(`the format of ${name}`);
    try {
      const found = probeSuperblock(partition.range);
      if (found !== undefined && !force) {
        const called = found.label === '' ? '' : ` "${found.label}"`;
        throw new DaxdError(
          'EEXIST',
          `${name} holds ${found.type}${called}: give force to lose what is on it`,
        );
      }
      const { clock } = this.#options;
      await mkfsExt4(partition.range, { label, clock });
      this.#failures.delete(partition);
    } finally {
      claim.release();
    }
  }

  /** Refuses every change that waits or comes. */
  drain(): void {
    this.#draining = true;
    for (const { layouts } of this.#mounts.values()) layouts.drain();
  }

  /** Unmounts everything; all are tried even where one fails. @throws AggregateError of the failures. */
  async unmountAll(): Promise<void> {
    const failures: unknown[] = [];
    for (const mount of this.mounted) {
      try {
        await this.#close(mount);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, 'not everything was unmounted');
  }

  async #close(mount: Mount): Promise<void> {
    const { name } = mount.partition;
    try {
      await mount.unmount();
      this.#options.log.info({ partition: name }, 'unmounted');
      await this.#options.noteLeft(name, mediaIdentity(mount.partition));
    } finally {
      if (!mount.live && this.#mounts.get(name) === mount) this.#mounts.delete(name);
    }
  }

  #everyExt4(): string[] {
    return this.partitions
      .filter(({ range }) => probeSuperblock(range)?.type === 'ext4')
      .map(({ name }) => name);
  }

  #ports(partition: Partition): Parameters<typeof Mount.open>[2] {
    const { pmem, waiters, changes } = this.#options;
    const { clock, ids, log, pageFreeLatency, onWaitEnded } = this.#options;
    const dax = this.daxSupport(partition);
    const { pgmap } = pmem;
    return {
      clock,
      ids,
      log,
      pageFreeLatency,
      onWaitEnded,
      dax,
      device: dax.supported && pgmap !== undefined ? { pgmap, waiters } : undefined,
      onBarrierUp: (change) => {
        changes.track(partition.name, change);
      },
      onWait: (change) => {
        changes.waits(change);
      },
      onBarrierDown: (change) => {
        changes.ended(change);
      },
    };
  }
}
