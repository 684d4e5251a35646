import type { Device } from '../base/device.js';
import type { PhysRange } from '../base/mem-regions.js';
import type { RequestQueue } from '../block/request-queue.js';
import { isAligned, PMD_SIZE } from '../lib/units.js';
import type { UsageRef } from '../lib/usage-ref.js';
import { BackingRange } from '../media/backing-range.js';
import { DevPagemap } from '../mm/dev-pagemap.js';
import type { NdNamespace } from './nd-namespace.js';
import type { PfnSetup } from './nvdimm-setup-pfn.js';
import { type FsdaxPorts, setupPagemapFsdax } from './setup-pagemap-fsdax.js';

/** Which of the three ways a namespace is mapped in; also the name of the step. */
type MapBranch = 'map-pfn' | 'map-pages' | 'map-raw';

/** What will be mapped. */
export interface PmemMap {
  readonly branch: MapBranch;
  /** Undefined where the pages get no counts. */
  readonly pgmap: DevPagemap | undefined;
  /** From byte 0 of the disk to the end of the data, whole sectors or not. */
  readonly data: BackingRange;
  /** The window in which bad blocks count; every branch has one. @kernel bb_res */
  readonly badblocksRange: PhysRange;
}

/**
 * Whether a namespace without an info block gets page counts: not where raw was forced, nor
 * where the end is not on 2 MiB. There the kernel from 5.7 on attaches nothing; daxd attaches
 * without pages, which mounts, but without direct access.
 *
 * @kernel pmem_should_map_pages (drivers/nvdimm/region_devs.c)
 */
export function pmemShouldMapPages(namespace: NdNamespace, isRawForced: boolean): boolean {
  return !isRawForced && isAligned(namespace.sizeBytes, PMD_SIZE);
}

/**
 * A namespace with an info block: counts for its data pages. Byte 0 of the disk is
 * start_pad + dataoff; pages and disk get it from here alone, so that they cannot differ.
 */
export function planPfn(namespace: NdNamespace, setup: PfnSetup, ref: UsageRef): PmemMap {
  const { range, dataOffset } = setup;
  const pgmap = new DevPagemap({ range, reservedBytes: dataOffset, ref });
  const start = range.start + dataOffset;
  const length = range.length - dataOffset;
  const data = new BackingRange(namespace.backing, start, length);
  return { branch: 'map-pfn', pgmap, data, badblocksRange: { start, length } };
}

/** A namespace without: counts for all of it (`map-pages`), or for none (`map-raw`). */
export function planWhole(
  namespace: NdNamespace,
  branch: 'map-pages' | 'map-raw',
  ref: UsageRef,
): PmemMap {
  const range = { start: 0, length: namespace.sizeBytes };
  const pgmap = branch === 'map-pages' ? new DevPagemap({ range, ref }) : undefined;
  const data = new BackingRange(namespace.backing, 0, range.length);
  return { branch, pgmap, data, badblocksRange: range };
}

/** Brings the pages into being, armed to report when they go idle. */
export async function mapWithPages(
  device: Device,
  pgmap: DevPagemap,
  ports: FsdaxPorts,
): Promise<void> {
  await setupPagemapFsdax(device, pgmap, ports);
  await ports.memremap.devmMemremapPages(device, pgmap);
}

/** Maps without pages: on detach, I/O in flight ends before the bytes go (32b2397c1e56). */
export async function mapWithoutPages(device: Device, queue: RequestQueue): Promise<void> {
  await device.devres.addActionOrReset('memremap', () => queue.cleanup());
}
