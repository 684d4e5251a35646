import type { Device } from '../base/device.js';
import type { Gendisk } from '../block/gendisk.js';
import type { DaxDevice } from '../dax/dax-device.js';
import { PAGE_SIZE } from '../lib/units.js';
import type { DevPagemap } from '../mm/dev-pagemap.js';
import type { AttachLife, AttachState } from './attach-state.js';
import type { AttachStep } from './attach-steps.js';
import { PfnMode, type PfnSuperblock } from './info-block.js';
import type { NdNamespace } from './nd-namespace.js';
import type { PfnSetup } from './nvdimm-setup-pfn.js';
import type { Personality, PmemAttachment } from './pmem-attach-disk.js';

/** What an attached namespace is; sizes and offsets in bytes. */
export interface NamespaceInfo {
  readonly mode: 'fsdax' | 'raw';
  /** Where the kernel keeps the page structures; `none` on a raw namespace. */
  readonly map: 'dev' | 'mem' | 'none';
  /** Undefined on a raw namespace, as is the version. */
  readonly uuid: string | undefined;
  /** Bytes from the padded start to byte 0 of the disk. */
  readonly dataOffset: number;
  /** Data pages. */
  readonly npfns: number;
  readonly align: number;
  readonly startPad: number;
  readonly endTrunc: number;
  /** Such as `1.4`. */
  readonly infoBlockVersion: string | undefined;
}

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

/** What a namespace turned out to be. */
export function namespaceInfo(
  namespace: NdNamespace,
  personality: Personality,
  setup: PfnSetup | undefined,
): NamespaceInfo {
  if (personality.kind === 'raw' || setup === undefined) return rawInfo(namespace);
  return pfnInfo(personality.sb, setup);
}

function pfnInfo(sb: PfnSuperblock, setup: PfnSetup): NamespaceInfo {
  return {
    mode: 'fsdax',
    map: sb.mode === PfnMode.Pmem ? 'dev' : 'mem',
    uuid: sb.uuid,
    dataOffset: setup.dataOffset,
    npfns: setup.npfns,
    align: sb.align,
    startPad: sb.startPad,
    endTrunc: sb.endTrunc,
    infoBlockVersion: `${sb.versionMajor}.${sb.versionMinor}`,
  };
}

function rawInfo(namespace: NdNamespace): NamespaceInfo {
  return {
    mode: 'raw',
    map: 'none',
    uuid: undefined,
    dataOffset: 0,
    npfns: Math.floor(namespace.sizeBytes / PAGE_SIZE),
    align: namespace.backing.alignBytes,
    startPad: 0,
    endTrunc: 0,
    infoBlockVersion: undefined,
  };
}
