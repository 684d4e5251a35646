import type { Claim } from '../block/claims.js';
import type { Partition } from '../block/partition.js';
import type { DaxSupport } from '../dax/bdev-dax-supported.js';
import { Layouts } from '../dax/layouts.js';
import type { LayoutsOptions } from '../dax/layouts.js';
import { mountExt4 } from '../fs/ext4/ext4.js';
import type { Ext4 } from '../fs/ext4/ext4.js';
import type { FilesystemTarget } from '../lease/lease-target.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import { mediaIdentity } from './partition-media.js';

/** What a mount works with. */
export interface MountPorts extends LayoutsOptions {
  readonly log: Logger;
  readonly dax: DaxSupport;
}

/**
 * A partition in use by a filesystem.
 *
 *     mounted --unmount--> unmounting --done--> unmounted
 */
export class Mount {
  readonly fs: Ext4;
  readonly layouts: Layouts;
  readonly partition: Partition;
  /** Whether its pages can be lent: found at the mount, for what says so ends after the unmount. */
  readonly dax: DaxSupport;
  /** What leases of its files stand on. */
  readonly leaseTarget: FilesystemTarget;
  readonly #claim: Claim;
  #state: 'mounted' | 'unmounting' | 'unmounted' = 'mounted';

  private constructor(
    fs: Ext4,
    layouts: Layouts,
    place: { partition: Partition; claim: Claim; dax: DaxSupport },
  ) {
    this.fs = fs;
    this.layouts = layouts;
    this.partition = place.partition;
    this.dax = place.dax;
    const { range } = place.partition;
    const media = mediaIdentity(place.partition);
    this.leaseTarget = { kind: 'filesystem', media, fs, layouts, range };
    this.#claim = place.claim;
  }

  /**
   * Claims the partition and mounts its ext4.
   *
   * @throws DaxdError EBUSY when it is in use; what the mount says. It is free again then.
   */
  static async open(partition: Partition, readOnly: boolean, ports: MountPorts): Promise<Mount> {
    const claim = partition.claim(`the ext4 mounted on ${partition.name}`);
    try {
      const layouts = new Layouts(ports);
      const { log, clock, dax } = ports;
      const fs = await mountExt4(partition.range, { readOnly, layouts, log, clock });
      log.info(
        { partition: partition.name, label: fs.label, uuid: fs.uuid, readOnly: fs.readOnly },
        'mounted',
      );
      return new Mount(fs, layouts, { partition, claim, dax });
    } catch (error) {
      claim.release();
      throw error;
    }
  }

  /** Whether calls may use it: not once the unmount began. */
  get live(): boolean {
    return this.#state === 'mounted';
  }

  /**
   * Unmounts. The caller has made sure that no page is pinned, or takes the process down.
   *
   * @throws DaxdError EBUSY when it is being unmounted; EIO when the media did not take it.
   */
  async unmount(): Promise<void> {
    if (this.#state !== 'mounted') {
      throw new DaxdError('EBUSY', `${this.partition.name} is being unmounted`);
    }
    this.#state = 'unmounting';
    try {
      await this.fs.unmount();
    } finally {
      this.#state = 'unmounted';
      this.#claim.release();
    }
  }
}
