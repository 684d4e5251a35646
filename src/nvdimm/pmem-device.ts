import type { Device } from '../base/device.js';
import type { Gendisk } from '../block/gendisk.js';
import type { DaxDevice } from '../dax/dax-device.js';
import type { DevPagemap } from '../mm/dev-pagemap.js';
import type { AttachLife, AttachState } from './attach-state.js';
import type { AttachStep } from './attach-steps.js';
import type { NamespaceInfo } from './namespace-info.js';
import type { PmemAttachment } from './pmem-attach-disk.js';

/** What a device is made from once its attach is done. */
export interface PmemDeviceOptions {
  readonly device: Device;
  readonly namespace: NamespaceInfo;
  readonly attachment: PmemAttachment;
  readonly steps: readonly AttachStep[];
  /** In the state `attaching`; the device takes it over. */
  readonly life: AttachLife;
}

/**
 * One attached namespace: its disk, its pages, and the way back.
 *
 * @kernel struct pmem_device (drivers/nvdimm/pmem.h)
 */
export class PmemDevice {
  readonly device: Device;
  readonly namespace: NamespaceInfo;
  readonly pgmap: DevPagemap | undefined;
  readonly disk: Gendisk;
  readonly daxDevice: DaxDevice;
  /** How each step of the probe and attach went. */
  readonly steps: readonly AttachStep[];
  readonly #life: AttachLife;
  #detached: Promise<void> | undefined;

  constructor({ device, namespace, attachment, steps, life }: PmemDeviceOptions) {
    this.device = device;
    this.namespace = namespace;
    this.pgmap = attachment.pgmap;
    this.disk = attachment.disk;
    this.daxDevice = attachment.daxDevice;
    this.steps = steps;
    this.#life = life;
    life.to('attached');
  }

  /** Such as `pmem0`. */
  get name(): string {
    return this.device.name;
  }

  get state(): AttachState {
    return this.#life.state;
  }

  /**
   * Refuses new direct access, claims and pins (ENXIO), then waits for the last pin, however
   * long that takes; then gives everything back, the backing last. Again, it settles with
   * the first call.
   *
   * @throws AggregateError when a release failed; the others ran all the same.
   * @kernel nd_pmem_remove (drivers/nvdimm/pmem.c)
   */
  async detach(): Promise<void> {
    this.#detached ??= this.#releaseAll();
    return this.#detached;
  }

  async #releaseAll(): Promise<void> {
    this.#life.to('detaching');
    try {
      await this.device.devres.releaseAll();
    } finally {
      this.#life.to('detached');
    }
  }
}
