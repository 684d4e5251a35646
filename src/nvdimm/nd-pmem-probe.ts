import { Device } from '../base/device.js';
import type { MemRegions, PhysRange } from '../base/mem-regions.js';
import { recogniseSignature } from '../block/signature.js';
import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import type { Backing } from '../media/backing.js';
import { BackingRange } from '../media/backing-range.js';
import type { Memremap } from '../mm/memremap.js';
import type { PageWaiters } from '../mm/page-waiters.js';
import { AttachLife } from './attach-state.js';
import { AttachSteps, type BeforeStep } from './attach-steps.js';
import { NdNamespace } from './nd-namespace.js';
import { type Personality, pmemAttachDisk } from './pmem-attach-disk.js';
import { namespaceInfo } from './namespace-info.js';
import { PmemDevice } from './pmem-device.js';
import { ndBttProbe, ndDaxProbe, ndPfnProbe } from './sniff.js';

/** What a probe works on and with; the last three are for tests. */
export interface NdPmemProbeOptions {
  /** Owned by the probe from the call on: closed when it fails, and at the end of a detach. */
  readonly backing: Backing;
  /** Takes the backing as raw, whatever info block it holds. */
  readonly forceRaw: boolean;
  readonly memremap: Memremap;
  readonly waiters: PageWaiters;
  readonly regions: MemRegions;
  readonly log: Logger;
  readonly clock: Clock;
  /** What the disk is named after and releases through; a new `pmem0` by default. */
  readonly device?: Device;
  /** Bytes of the backing known to be bad; none by default. */
  readonly badRanges?: readonly PhysRange[];
  /** Runs before each step; what it throws fails the step. */
  readonly beforeStep?: BeforeStep;
}

/**
 * Finds out what a backing holds, in the order BTT, PFN, DAX, raw, and attaches it. Only
 * ENODEV ("not this kind") lets the next one look: a block that is there but cannot be used
 * is never attached raw behind its owner's back. On a failure everything taken is given back
 * in reverse order, the backing last.
 *
 * @throws DaxdError the errno of the step that failed; its cause lists releases that failed too.
 * @kernel nd_pmem_probe (drivers/nvdimm/pmem.c)
 */
export async function ndPmemProbe(options: NdPmemProbeOptions): Promise<PmemDevice> {
  const { backing, log, device = new Device('pmem0') } = options;
  const steps = new AttachSteps(options.clock, options.beforeStep);
  const life = new AttachLife();
  life.to('attaching');
  await device.devres.addActionOrReset('backing', () => backing.close());
  try {
    return await probe(options, device, { steps, life });
  } catch (error) {
    const failed = steps.recorded.findLast(({ ok }) => !ok);
    log.error({ device: device.name, backing: backing.path, ...failed }, 'attach failed');
    life.to('detaching');
    await releaseAfter(error, device);
    life.to('detached');
    throw error;
  }
}

async function probe(
  options: NdPmemProbeOptions,
  device: Device,
  { steps, life }: { readonly steps: AttachSteps; readonly life: AttachLife },
): Promise<PmemDevice> {
  const { backing, memremap, waiters, regions, log, badRanges } = options;
  const namespace = new NdNamespace(backing, badRanges);
  await steps.run('common-probe', () => {
    namespace.commonProbe();
  });
  await steps.run('enable-raw-access', () => {
    namespace.enableRawAccess();
  });
  const personality = await sniff(options, namespace, steps);
  const ports = { memremap, waiters };
  const attachment = await pmemAttachDisk({
    device,
    namespace,
    personality,
    regions,
    ports,
    steps,
    log,
  });
  return new PmemDevice({
    device,
    namespace: namespaceInfo(namespace, personality, attachment.setup),
    attachment,
    steps: steps.recorded,
    life,
  });
}

async function sniff(
  { forceRaw, log, backing }: NdPmemProbeOptions,
  namespace: NdNamespace,
  steps: AttachSteps,
): Promise<Personality> {
  if (forceRaw) return { kind: 'raw', forced: true };
  await steps.sniff('sniff-btt', () => ndBttProbe(namespace));
  const sb = await steps.sniff('sniff-pfn', () => ndPfnProbe(namespace, log));
  if (sb !== undefined) return { kind: 'pfn', sb };
  await steps.sniff('sniff-dax', () => ndDaxProbe(namespace, log));

  const signature = recogniseSignature(new BackingRange(backing, 0, backing.sizeBytes));
  // What does not count as a namespace was told of above.
  const known = signature?.kind === 'namespace' ? undefined : signature;
  const fields = { backing: backing.path, found: known?.what };
  if (known === undefined) {
    log.warn(fields, 'no info block and nothing known at the start: attached raw, nothing written');
  } else log.info(fields, 'no info block: attached raw');
  return { kind: 'raw', forced: false };
}

/** Gives everything back after `error`; where that fails too, both are reported. */
async function releaseAfter(error: unknown, device: Device): Promise<void> {
  try {
    await device.devres.releaseAll();
  } catch (failure) {
    const cause = new AggregateError([error, failure], 'attach failed, and so did its unwinding');
    if (!(error instanceof DaxdError)) throw cause;
    throw new DaxdError(error.code, `${error.message} (not everything was given back)`, { cause });
  }
}
