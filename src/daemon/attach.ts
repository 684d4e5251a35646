import { mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

import { MemRegions } from '../base/mem-regions.js';
import type { InitConfig, ServeConfig } from '../config/load.js';
import { mkfsExt4 } from '../fs/ext4/mkfs.js';
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import type { Backing } from '../media/backing.js';
import { openBacking } from '../media/open-backing.js';
import type { Memremap } from '../mm/memremap.js';
import type { PageWaiters } from '../mm/page-waiters.js';
import { initNamespace } from '../nvdimm/init-namespace.js';
import { isBlank } from '../nvdimm/is-blank.js';
import { ndPmemProbe } from '../nvdimm/nd-pmem-probe.js';
import type { PmemDevice } from '../nvdimm/pmem-device.js';

/** The label of the partition, and of the ext4 on it, that `--init` makes. */
const INIT_LABEL = 'daxd';

/** What an attach needs beside its configuration. */
export interface AttachPorts {
  readonly memremap: Memremap;
  readonly waiters: PageWaiters;
  readonly clock: Clock;
  readonly log: Logger;
}

/** An attached device and the media under it. */
export interface Attached {
  readonly backing: Backing;
  readonly pmem: PmemDevice;
}

/**
 * Opens the backing, lays down what `--init` asks for, and attaches it. On a failure the
 * backing is closed and unlocked again.
 *
 * @throws DaxdError what opening, initialising or attaching says.
 */
export async function attach(config: ServeConfig, ports: AttachPorts): Promise<Attached> {
  const { log, clock, memremap, waiters } = ports;
  const { sizeBytes, sparse, readOnly, persistence, forceRaw } = config;
  if (config.isDefaultBacking && !readOnly)
    await mkdir(dirname(config.backing), { recursive: true });
  // Clients map the file by this path, wherever they run.
  const backing = await openBacking(resolve(config.backing), {
    sparse,
    readOnly,
    persistence,
    log,
    clock,
    ...(sizeBytes !== undefined && { sizeBytes }),
  });
  const init = await initIfAsked(backing, config.init);
  const regions = new MemRegions();
  const pmem = await ndPmemProbe({ backing, forceRaw, memremap, waiters, regions, log, clock });
  if (init) await layFilesystem(pmem, ports);
  return { backing, pmem };
}

/** Whether the backing was blank and is a new namespace now. */
async function initIfAsked(backing: Backing, init: InitConfig | undefined): Promise<boolean> {
  if (init === undefined) return false;
  if (!init.required && (backing.readOnly || !isBlank(backing).blank)) return false;
  try {
    const { mode, map, alignBytes } = init;
    await initNamespace(backing, { mode, map, align: alignBytes });
    return true;
  } catch (error) {
    await backing.close();
    throw error;
  }
}

async function layFilesystem(pmem: PmemDevice, { log, clock }: AttachPorts): Promise<void> {
  try {
    const partition = await pmem.disk.addPartition({ label: INIT_LABEL });
    const claim = partition.claim('the format of --init');
    try {
      await mkfsExt4(partition.range, { label: INIT_LABEL, clock });
    } finally {
      claim.release();
    }
    log.info({ partition: partition.name, sizeBytes: partition.sizeBytes }, 'initialised');
  } catch (error) {
    await pmem.detach();
    throw error;
  }
}
