import { LIMITS } from '../config/limits.js';
import type { ServeConfig } from '../config/load.js';
import { EventStreams } from '../http/event-streams.js';
import { RequestLatencies } from '../http/request-latencies.js';
import type { Fence } from '../lease/fence.js';
import { HostHolders } from '../lease/host-holders.js';
import { Leases } from '../lease/leases.js';
import type { LeasesOptions } from '../lease/leases.js';
import { readBootId } from '../lease/proc-fs.js';
import { recallsFor } from '../lease/recalls.js';
import type { Clock } from '../lib/clock.js';
import { EventRing } from '../lib/event-ring.js';
import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../lib/latency-histogram.js';
import type { Logger } from '../lib/logger.js';
import { SortableIds } from '../lib/sortable-id.js';
import type { Memremap } from '../mm/memremap.js';
import type { PageWaiters } from '../mm/page-waiters.js';
import type { PmemDevice } from '../nvdimm/pmem-device.js';
import { Metrics } from '../telemetry/metrics.js';
import { TruncateWaits } from '../telemetry/truncate-waits.js';
import type { Attached } from './attach.js';
import { DaemonControl } from './daemon-control.js';
import { filesystemSeries } from './filesystem-series.js';
import { KeptOperations } from './kept-operations.js';
import { noteLeft } from './partition-media.js';
import { Mounts } from './mounts.js';
import type { OpenStore } from './open-store.js';
import { Operations } from './operations.js';
import type { OperationsOptions } from './operations.js';
import { pinnedPagesIn } from './reports.js';

/** What a daemon needs beside its configuration. */
export interface DaemonOptions {
  readonly config: ServeConfig;
  readonly version: string;
  readonly log: Logger;
  readonly clock: Clock;
  /** Told of a broken invariant: nothing may be stored any more. */
  readonly onFatal: (error: Error) => void;
}

/** The parts of a daemon that do not listen yet. */
export interface Parts extends OpenStore {
  readonly mounts: Mounts;
  readonly leases: Leases;
  readonly kept: KeptOperations;
  readonly control: DaemonControl;
  readonly metrics: Metrics;
  readonly latencies: RequestLatencies;
  readonly events: EventStreams;
}

/** Puts the parts of a daemon together: nothing is mounted, and nobody is served yet. */
export function assemble(
  { log, clock, config, version, onFatal }: DaemonOptions,
  attached: Attached,
  { memremap, waiters, store, storeNote, fence }: Ground,
): Parts {
  const { backing, pmem } = attached;
  const ids = new SortableIds(() => clock.wallMs());
  const ring = new EventRing(ids.next(), LIMITS.eventsKept);
  const events = new EventStreams(ring, clock);
  const truncateWaits = new TruncateWaits();
  const pageFreeLatency = new LatencyHistogram(FAST_BOUNDS_SECONDS);
  const operations = operationsOn({ store, clock, log, events: ring, onFatal }, () => leases);
  const mounts = new Mounts({
    pmem,
    memremap,
    waiters,
    clock,
    ids,
    log,
    readOnly: config.readOnly,
    pageFreeLatency,
    onWaitEnded: (op, outcome, seconds) => {
      truncateWaits.observe(op, outcome, seconds);
    },
    noteLeft: async (partition, media) => {
      await noteLeft({ store, log }, partition, media);
    },
    changes: operations,
    quarantine: () => leases.quarantine,
    onMount: (mount) => {
      kept.mounted(mount);
    },
  });
  const ports = { targets: mounts, memremap, store, clock, ids, log, events: ring, fence };
  const host = hostOf(attached);
  const leases: Leases = new Leases({ ...ports, ...host });
  const { bootId } = host;
  const kept = new KeptOperations({ store, operations, mounts, leases, ids, bootId, clock, log });
  const latencies = new RequestLatencies();
  const metrics = new Metrics({
    version,
    memremap,
    wakeups: waiters.wakeups,
    pageFreeLatency,
    persistLatency: backing.persistLatency,
    truncateWaits,
    leases: leases.counters,
    events,
    attachSteps: pmem.steps,
    requests: latencies,
    nbd: () => control.nbd,
    pendingChanges: () => operations.pending(),
    filesystems: () => filesystemSeries(mounts, leases),
    pinnedPages: () =>
      mounts.partitions.map(({ name, range }) => ({
        partition: name,
        pages: pinnedPagesIn(pmem.pgmap, range, { offset: 0, length: range.length }),
      })),
  });
  const parts = { backing, pmem, memremap, mounts, leases, operations, kept, log };
  const control: DaemonControl = new DaemonControl(parts);
  return { mounts, leases, kept, store, storeNote, control, metrics, latencies, events };
}

/** The changes that wait for leases, which come to be later. */
function operationsOn(
  ports: Pick<OperationsOptions, 'clock' | 'events' | 'log' | 'onFatal' | 'store'>,
  leases: () => Leases,
): Operations {
  return new Operations({
    ...ports,
    finishedMax: LIMITS.finishedOperationsMax,
    blockedBy: (partition, inode, from, to) => leases().overlapping(partition, inode, from, to),
    recalls: (change, holders) => recallsFor(change, holders, leases()),
    acknowledgements: (change) => leases().recallClock.acknowledgements(change),
    onBlocked: (partition, change) => {
      leases().revocation.blocked(partition, change);
    },
    onUnblocked: ({ id }) => {
      leases().recallClock.ended(id);
      leases().revocation.ended(id);
    },
  });
}

/** What is there before anything is mounted. */
export interface Ground extends OpenStore {
  readonly memremap: Memremap;
  readonly waiters: PageWaiters;
  readonly fence: Fence | undefined;
}

/** What leases know of the machine and of the media. */
function hostOf({
  backing,
  pmem,
}: Attached): Pick<LeasesOptions, 'backingPath' | 'bootId' | 'media' | 'holders'> {
  return {
    holders: new HostHolders(),
    media: mediaOf(pmem),
    bootId: readBootId(),
    backingPath: backing.path,
  };
}

/** Names the namespace to a store: by the uuid of its info block, or by its size where it has none. */
function mediaOf({ namespace, disk }: PmemDevice): string {
  return namespace.uuid ?? `raw, ${disk.sizeBytes} bytes`;
}
