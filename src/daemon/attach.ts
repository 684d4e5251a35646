import { mkdir, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

import { MemRegions } from '../base/mem-regions.js';
import { DEFAULT_SIZE_BYTES } from '../config/load.js';
import type { ServeConfig } from '../config/load.js';
import { mkfsExt4 } from '../fs/ext4/mkfs.js';
import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import type { Backing } from '../media/backing.js';
import { openBacking } from '../media/open-backing.js';
import { fileSystemError } from '../media/system-call-error.js';
import type { Memremap } from '../mm/memremap.js';
import type { PageWaiters } from '../mm/page-waiters.js';
import { endInit, isInitCut } from '../nvdimm/init-mark.js';
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

/** What becomes of the media at an attach. */
type InitialConfig = Pick<ServeConfig, 'forceRaw' | 'init'>;

/** An attached device and the media under it. */
export interface Attached {
  readonly backing: Backing;
  readonly pmem: PmemDevice;
}

/**
 * Opens the backing, lays down what `--init` asks for, and attaches it. On a failure the
 * backing is closed and unlocked again, and removed where this created it.
 *
 * @throws DaxdError what opening, initialising or attaching says.
 */
export async function attach(config: ServeConfig, ports: AttachPorts): Promise<Attached> {
  const { sizeBytes, sparse, readOnly, persistence } = config;
  if (config.isDefaultBacking && !readOnly) await makeDirectory(dirname(config.backing));
  // Clients map the file by this path, wherever they run.
  const backing = await openBacking(resolve(config.backing), {
    sparse,
    readOnly,
    persistence,
    log: ports.log,
    clock: ports.clock,
    ...(sizeBytes !== undefined && { sizeBytes }),
  });
  warnOfSize(backing, config, ports.log);
  try {
    const pmem = await attachBacking(backing, config, ports);
    await checkMount(pmem, config);
    return { backing, pmem };
  } catch (error) {
    if (backing.created) await rm(backing.path, { force: true });
    throw error;
  }
}

/**
 * Attaches an open backing, and lays down before what `--init` asks for. What was cut short at
 * that, by a kill or by a power cut, is begun anew. On a failure the backing is closed.
 *
 * @throws DaxdError what initialising or attaching says.
 */
export async function attachBacking(
  backing: Backing,
  config: InitialConfig,
  ports: AttachPorts,
): Promise<PmemDevice> {
  const isNew = await initIfAsked(backing, config, ports.log);
  const { forceRaw } = config;
  const pmem = await ndPmemProbe({ ...ports, backing, forceRaw, regions: new MemRegions() });
  if (isNew) await layFilesystem(pmem, backing, ports);
  return pmem;
}

/** Before there is a store of leases. @throws DaxdError ENOENT for a partition that is not there. */
async function checkMount(pmem: PmemDevice, { mount }: ServeConfig): Promise<void> {
  if (mount === 'auto' || mount === 'none') return;
  try {
    pmem.disk.partition(mount);
  } catch (error) {
    await pmem.detach();
    throw error;
  }
}

/** A file that is there is never resized. */
function warnOfSize(backing: Backing, config: ServeConfig, log: Logger): void {
  const { path, sizeBytes } = backing;
  const asked = config.sizeBytes;
  if (asked === undefined || asked === sizeBytes) return;
  if (config.isDefaultBacking && asked === DEFAULT_SIZE_BYTES) return;
  log.warn({ path, sizeBytes }, '--size changes nothing: the backing is there, and keeps its size');
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (cause) {
    const advice = 'start where daxd may make it, or give --backing';
    throw fileSystemError(`make ${resolve(path)}`, cause, advice);
  }
}

/** Whether the backing is a new namespace now. */
async function initIfAsked(
  backing: Backing,
  { init, forceRaw }: InitialConfig,
  log: Logger,
): Promise<boolean> {
  const isCut = isInitCut(backing);
  // An info block would be ignored at once.
  const isForced = forceRaw && init?.mode === 'fsdax';
  try {
    if (init === undefined || (!init.required && (backing.readOnly || isForced))) {
      if (isCut) refuseCut(backing, log);
      return false;
    }
    if (!init.required && !isCut && !isBlank(backing).blank) return false;
    const { mode, map, alignBytes } = init;
    await initNamespace(backing, { mode, map, align: alignBytes });
    return true;
  } catch (error) {
    await backing.close();
    throw error;
  }
}

/**
 * Where an initialisation was cut short all is daxd's own, and the next one lays it down anew: what
 * was stored there meanwhile would be lost, and pages could be leased that it overwrites.
 */
function refuseCut({ path, readOnly }: Backing, log: Logger): void {
  if (!readOnly) {
    throw new DaxdError(
      'EUCLEAN',
      `an --init of ${path} was cut short: give --init to begin it anew, or --read-only to look at what is there`,
    );
  }
  log.warn({ path }, 'an --init was cut short here: give it again, without --read-only');
}

async function layFilesystem(
  pmem: PmemDevice,
  backing: Backing,
  { log, clock }: AttachPorts,
): Promise<void> {
  try {
    const partition = await pmem.disk.addPartition({ label: INIT_LABEL });
    const claim = partition.claim('the format of --init');
    try {
      await mkfsExt4(partition.range, { label: INIT_LABEL, clock });
    } finally {
      claim.release();
    }
    await endInit(backing);
    log.info({ partition: partition.name, sizeBytes: partition.sizeBytes }, 'initialised');
  } catch (error) {
    await pmem.detach();
    throw error;
  }
}
