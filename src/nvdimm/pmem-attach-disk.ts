import type { Device } from '../base/device.js';
import { devmRequestMemRegion, type MemRegions } from '../base/mem-regions.js';
import { Badblocks } from '../block/badblocks.js';
import { Gendisk } from '../block/gendisk.js';
import { RequestQueue } from '../block/request-queue.js';
import { DaxDevice } from '../dax/dax-device.js';
import type { Logger } from '../lib/logger.js';
import { PAGE_SIZE, roundDown, SECTOR_SIZE } from '../lib/units.js';
import { type DevPagemap, MemoryType } from '../mm/dev-pagemap.js';
import type { AttachSteps } from './attach-steps.js';
import type { PfnSuperblock } from './info-block.js';
import type { NdNamespace } from './nd-namespace.js';
import { nvdimmSetupPfn, type PfnSetup } from './nvdimm-setup-pfn.js';
import { PmemDaxOperations } from './pmem-direct-access.js';
import {
  mapWithoutPages,
  mapWithPages,
  planPfn,
  planWhole,
  type PmemMap,
  pmemShouldMapPages,
} from './pmem-map.js';
import type { FsdaxPorts } from './setup-pagemap-fsdax.js';

/** What sniffing found the namespace to be. */
export type Personality =
  | { readonly kind: 'pfn'; readonly sb: PfnSuperblock }
  | { readonly kind: 'raw'; readonly forced: boolean };

/** What an attach works on and with. */
export interface PmemAttachOptions {
  readonly device: Device;
  readonly namespace: NdNamespace;
  readonly personality: Personality;
  readonly regions: MemRegions;
  readonly ports: FsdaxPorts;
  readonly steps: AttachSteps;
  readonly log: Logger;
}

/** What an attach leaves behind; the device's devres undoes it. */
export interface PmemAttachment {
  /** Undefined without an info block. */
  readonly setup: PfnSetup | undefined;
  readonly pgmap: DevPagemap | undefined;
  readonly disk: Gendisk;
  readonly daxDevice: DaxDevice;
  readonly badblocks: Badblocks;
}

/**
 * Attaches the disk of a namespace, in the kernel's steps and order. Each step that takes
 * something registers its release at once: mem region, queue, pagemap ops, pagemap (or
 * memremap), queue freeze, disk. What the kernel frees is left to the garbage collector.
 * On a throw the caller releases the device's devres.
 *
 * @throws DaxdError the errno of the step that failed.
 * @kernel pmem_attach_disk (drivers/nvdimm/pmem.c)
 */
export async function pmemAttachDisk(options: PmemAttachOptions): Promise<PmemAttachment> {
  const { device, namespace, steps } = options;
  // The kernel allocates its state here; the step stays, so that the list compares with it.
  await steps.run('alloc-pmem', () => undefined);
  const setup = await setupPfn(options);
  await steps.run('disable-raw-access', () => {
    namespace.disableRawAccess();
  });
  await steps.run('request-mem-region', () =>
    devmRequestMemRegion(device, options.regions, { start: 0, length: namespace.sizeBytes }),
  );
  const queue = await steps.run('alloc-queue', () => allocQueue(device));

  const map = await mapNamespace(options, queue, setup);

  await steps.run('queue-limits', () => {
    queue.setLimits({
      logicalBlockSize: SECTOR_SIZE,
      physicalBlockSize: PAGE_SIZE,
      rotational: false,
      writeCache: namespace.backing.persistence !== 'none',
      dax: map.pgmap?.type === MemoryType.FsDax,
    });
  });
  const disk = await steps.run('alloc-disk', () => allocDisk(options, queue, map));
  const badblocks = await steps.run('badblocks', () => {
    const list = new Badblocks(map.badblocksRange);
    nvdimmBadblocksPopulate(list, namespace);
    return list;
  });
  const daxDevice = await steps.run(
    'alloc-dax',
    () => new DaxDevice(disk.name, new PmemDaxOperations(disk.range, badblocks)),
  );
  await steps.run('add-disk', () => addDisk(device, disk, daxDevice));
  await steps.run('revalidate', () => {
    namespace.backing.checkSize();
  });
  return { setup, pgmap: map.pgmap, disk, daxDevice, badblocks };
}

async function setupPfn(options: PmemAttachOptions): Promise<PfnSetup | undefined> {
  const { personality, namespace, steps, log } = options;
  if (personality.kind === 'raw') return undefined;
  return steps.run('setup-pfn', () => nvdimmSetupPfn(namespace, personality.sb, log));
}

async function allocQueue(device: Device): Promise<RequestQueue> {
  const queue = new RequestQueue();
  await device.devres.addActionOrReset('queue', () => queue.cleanup());
  return queue;
}

/**
 * Maps the namespace in one of three ways. The freeze is registered after the mapping and
 * even where that failed, so that on every way out I/O stops before pages go.
 */
async function mapNamespace(
  options: PmemAttachOptions,
  queue: RequestQueue,
  setup: PfnSetup | undefined,
): Promise<PmemMap> {
  const { device, steps, ports } = options;
  const map = await steps.run('share-usage-counter', () => planMap(options, queue, setup));
  const failure = await failureOf(
    steps.run(map.branch, () =>
      map.pgmap === undefined
        ? mapWithoutPages(device, queue)
        : mapWithPages(device, map.pgmap, ports),
    ),
  );
  await steps.run('register-freeze', () =>
    device.devres.addActionOrReset('queue freeze', () => {
      queue.freezeStart();
    }),
  );
  await steps.run('check-map', () => {
    if (failure !== undefined) throw failure.error;
  });
  return map;
}

/** Lays out what will be mapped, with the queue's counter as the ref of its pages. */
function planMap(
  { namespace, personality, log }: PmemAttachOptions,
  queue: RequestQueue,
  setup: PfnSetup | undefined,
): PmemMap {
  if (setup !== undefined) return planPfn(namespace, setup, queue.usageCounter);
  const isForced = personality.kind === 'raw' && personality.forced;
  const canMapPages = pmemShouldMapPages(namespace, isForced);
  if (!canMapPages && !isForced) {
    log.warn(
      { backing: namespace.backing.path, sizeBytes: namespace.sizeBytes },
      'the size is no multiple of 2 MiB: attached without pages, so there is no direct access',
    );
  }
  return planWhole(namespace, canMapPages ? 'map-pages' : 'map-raw', queue.usageCounter);
}

async function failureOf(step: Promise<void>): Promise<{ readonly error: unknown } | undefined> {
  try {
    await step;
    return undefined;
  } catch (error) {
    return { error };
  }
}

/** Capacity is in whole sectors of what lies behind the pads and the header. */
function allocDisk({ device, log }: PmemAttachOptions, queue: RequestQueue, map: PmemMap): Gendisk {
  const range = map.data.slice(0, roundDown(map.data.length, SECTOR_SIZE));
  return new Gendisk({ name: device.name, range, queue, log });
}

/** Scans the partition table, then hands the disk to the device. */
async function addDisk(device: Device, disk: Gendisk, daxDevice: DaxDevice): Promise<void> {
  disk.scanPartitions();
  await device.devres.addActionOrReset('disk', () => {
    daxDevice.kill();
    disk.del();
  });
}

/** @kernel nvdimm_badblocks_populate (drivers/nvdimm/badrange.c) */
function nvdimmBadblocksPopulate(badblocks: Badblocks, namespace: NdNamespace): void {
  for (const range of namespace.badRanges) badblocks.set(range);
}
