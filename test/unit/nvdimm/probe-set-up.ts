import { Device } from '../../../src/base/device.js';
import { MemRegions } from '../../../src/base/mem-regions.js';
import type { Clock } from '../../../src/lib/clock.js';
import type { LogFields, Logger } from '../../../src/lib/logger.js';
import { MIB } from '../../../src/lib/units.js';
import type { Backing } from '../../../src/media/backing.js';
import { Memremap } from '../../../src/mm/memremap.js';
import { PageWaiters } from '../../../src/mm/page-waiters.js';
import { INFO_BLOCK_OFFSET, encodeInfoBlock } from '../../../src/nvdimm/info-block.js';
import { ndPfnCreate } from '../../../src/nvdimm/nd-pfn-create.js';
import { type NdPmemProbeOptions, ndPmemProbe } from '../../../src/nvdimm/nd-pmem-probe.js';
import type { PmemDevice } from '../../../src/nvdimm/pmem-device.js';
import { MemoryBacking } from '../../support/memory-backing.js';

interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: LogFields;
  readonly message: string;
}

/** A logger that keeps its lines. */
class LogRecorder implements Logger {
  readonly lines: LogLine[] = [];

  debug(fields: LogFields, message: string): void {
    this.lines.push({ level: 'debug', fields, message });
  }
  info(fields: LogFields, message: string): void {
    this.lines.push({ level: 'info', fields, message });
  }
  warn(fields: LogFields, message: string): void {
    this.lines.push({ level: 'warn', fields, message });
  }
  error(fields: LogFields, message: string): void {
    this.lines.push({ level: 'error', fields, message });
  }

  warnings(): string[] {
    return this.lines.filter(({ level }) => level === 'warn').map(({ message }) => message);
  }
}

/** A clock on which each look is 1 ms later. */
class SteppingClock implements Clock {
  #ms = 0;

  nowMs(): number {
    return this.#ms++;
  }
  wallMs(): number {
    return 0;
  }
  setTimer(): () => void {
    return () => undefined;
  }
}

export interface ProbeSetUp {
  readonly device: Device;
  readonly memremap: Memremap;
  readonly regions: MemRegions;
  readonly log: LogRecorder;
  readonly probe: (options?: Partial<NdPmemProbeOptions>) => Promise<PmemDevice>;
}

/** All that a probe of `backing` takes. */
export function setUpProbe(backing: Backing, { devPagemapOps = true } = {}): ProbeSetUp {
  const device = new Device('pmem0');
  const memremap = new Memremap({ devPagemapOps });
  const regions = new MemRegions();
  const log = new LogRecorder();
  const clock = new SteppingClock();
  const waiters = new PageWaiters(clock);
  return {
    device,
    memremap,
    regions,
    log,
    probe: (options = {}) =>
      ndPmemProbe({
        backing,
        forceRaw: false,
        memremap,
        waiters,
        regions,
        log,
        clock,
        device,
        ...options,
      }),
  };
}

/** Memory of `sizeBytes` with an fsdax info block on it. */
export function fsdaxBacking(sizeBytes = 32 * MIB, map: 'dev' | 'mem' = 'dev'): MemoryBacking {
  const backing = new MemoryBacking(sizeBytes);
  const uuid = '11111111-2222-3333-4444-555555555555';
  const sb = ndPfnCreate({ map, align: 2 * MIB, uuid, namespaceBytes: sizeBytes });
  backing.mapping.write(INFO_BLOCK_OFFSET, encodeInfoBlock(sb));
  return backing;
}
