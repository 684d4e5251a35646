import { LIMITS } from '../config/limits.js';
import type { ServeConfig } from '../config/load.js';
import { buildHttp } from '../http/app.js';
import { Callers } from '../http/callers.js';
import { EventStreams } from '../http/event-streams.js';
import { HostGuard } from '../http/host-guard.js';
import { Listener } from '../http/listeners.js';
import { RequestLatencies } from '../http/request-latencies.js';
import type { Fence } from '../lease/fence.js';
import { Leases } from '../lease/leases.js';
import type { LeasesOptions } from '../lease/leases.js';
import type { LeaseView } from '../lease/lease.js';
import { HostHolders } from '../lease/host-holders.js';
import { readBootId } from '../lease/proc-fs.js';
import { recallsFor } from '../lease/recalls.js';
import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { EventRing } from '../lib/event-ring.js';
import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../lib/latency-histogram.js';
import type { Logger } from '../lib/logger.js';
import { SortableIds } from '../lib/sortable-id.js';
import { Memremap } from '../mm/memremap.js';
import { PageWaiters } from '../mm/page-waiters.js';
import { NbdServer } from '../nbd/nbd-server.js';
import type { PmemDevice } from '../nvdimm/pmem-device.js';
import { Metrics } from '../telemetry/metrics.js';
import { TruncateWaits } from '../telemetry/truncate-waits.js';
import { readAccess } from './access.js';
import type { Access } from './access.js';
import { attach } from './attach.js';
import type { Attached } from './attach.js';
import { FenceCommand } from './fence-command.js';
import { DaemonControl } from './daemon-control.js';
import { KeptOperations } from './kept-operations.js';
import { Mounts } from './mounts.js';
import { openStore } from './open-store.js';
import type { OpenStore } from './open-store.js';
import { Operations } from './operations.js';
import type { OperationsOptions } from './operations.js';
import { pinnedPagesIn } from './reports.js';

/** How often a drain looks whether the last lease is kept, in milliseconds. */
const DRAIN_POLL_MS = 20;

/** What a daemon needs beside its configuration. */
export interface DaemonOptions {
  readonly config: ServeConfig;
  readonly version: string;
  readonly log: Logger;
  readonly clock: Clock;
  /** Told of a broken invariant: nothing may be stored any more. */
  readonly onFatal: (error: Error) => void;
}

/**
 * One daemon: a device, what is mounted on it, its leases, and the addresses it answers on.
 *
 *     open --drain--> draining --pins gone, or time up--> closed
 */
export class Daemon {
  /** Such as `pmem0`. */
  readonly deviceName: string;
  readonly #options: DaemonOptions;
  readonly #attached: Attached;
  readonly #parts: Parts;
  readonly #listeners: readonly Listener[];

  private constructor(
    options: DaemonOptions,
    attached: Attached,
    parts: Parts,
    listeners: readonly Listener[],
  ) {
    this.deviceName = attached.pmem.name;
    this.#options = options;
    this.#attached = attached;
    this.#parts = parts;
    this.#listeners = listeners;
  }

  /**
   * Opens everything, sockets last.
   *
   * @throws DaxdError what opening, attaching or listening says; all is given back then.
   */
  static async open(options: DaemonOptions): Promise<Daemon> {
    const { config, log, clock } = options;
    for (const warning of config.warnings) log.warn({}, warning);
    // What cannot be read stops the start before anything is written.
    const access = await readAccess(config.access, log);
    const { fenceCommand } = config;
    const fence = fenceCommand === undefined ? undefined : await FenceCommand.open(fenceCommand);
    const memremap = new Memremap({ devPagemapOps: true });
    const waiters = new PageWaiters(clock);
    const attached = await attach(config, { memremap, waiters, clock, log });
    const { store, storeNote } = await openStore(config, attached, log);
    const parts = assemble(options, attached, { memremap, waiters, store, storeNote, fence });
    try {
      // Whoever mounts, or is served, finds the pages of the leases pinned.
      await parts.leases.restore();
      await parts.kept.restore();
      storeNote.write(store);
      await parts.mounts.mountAtStart(config.mount);
      parts.leases.revocation.resume();
      const nbd = await serveNbd(options, attached, parts.leases);
      if (nbd !== undefined) parts.control.serveNbd(nbd);
      const listeners = await listen(options, parts, access);
      return new Daemon(options, attached, parts, listeners);
    } catch (error) {
      // The next start goes on with what waits.
      parts.control.drain();
      await parts.control.nbd?.close();
      await parts.control.whenUnchanging();
      await parts.mounts.unmountAll();
      await parts.leases.close();
      await attached.pmem.detach();
      throw error;
    }
  }

  /** Where it answers: `http://127.0.0.1:8470`, `https://…`, `unix:/path`, `nbd+unix:///?socket=/path`. */
  get urls(): readonly string[] {
    const urls = this.#listeners.map(({ url }) => url);
    return [...urls, ...(this.#parts.control.nbd?.uris ?? [])];
  }

  /**
   * Refuses new leases and changes, waits up to the drain timeout for those leases that the
   * store does not keep yet, then unmounts, detaches and gives the backing back. The others go
   * on with the next daemon.
   *
   * @returns the leases that nobody keeps when the time is up.
   * @throws AggregateError when an unmount or a release failed.
   */
  async close(): Promise<readonly LeaseView[]> {
    const { control, events, leases, mounts, store, storeNote } = this.#parts;
    const { log, config } = this.#options;
    log.info({ leases: leases.size, drainTimeoutMs: config.drainTimeoutMs }, 'draining');
    control.drain();
    // What waited is refused a turn later, and those who watch hear of that, too.
    await this.#pause(0);
    events.end();
    await this.#untilKept();
    const held = leases.unkept.map((lease) => lease.view());
    await this.#closeListeners();
    await control.nbd?.close(LIMITS.closeGraceMs);
    await control.whenUnchanging();
    await mounts.unmountAll();
    storeNote.drop(store);
    await leases.close();
    await this.#attached.pmem.detach();
    log.info({ held: held.length }, 'detached');
    return held;
  }

  async #untilKept(): Promise<void> {
    const { clock, config } = this.#options;
    const untilMs = clock.nowMs() + config.drainTimeoutMs;
    while (this.#parts.leases.unkept.length > 0 && clock.nowMs() < untilMs) {
      await this.#pause(Math.min(DRAIN_POLL_MS, untilMs - clock.nowMs()));
    }
  }

  /** Lets running requests end for a moment, and then cuts them. */
  async #closeListeners(): Promise<void> {
    const closed = Promise.all(this.#listeners.map((listener) => listener.close()));
    const cancelTimer = this.#options.clock.setTimer(() => {
      for (const listener of this.#listeners) listener.cut();
    }, LIMITS.closeGraceMs);
    await closed;
    cancelTimer();
  }

  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#options.clock.setTimer(resolve, ms);
    });
  }
}

/** The parts of a daemon that do not listen yet. */
interface Parts extends OpenStore {
  readonly mounts: Mounts;
  readonly leases: Leases;
  readonly kept: KeptOperations;
  readonly control: DaemonControl;
  readonly metrics: Metrics;
  readonly latencies: RequestLatencies;
  readonly events: EventStreams;
}

function assemble(
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
  const operations = operationsOn({ clock, log, events: ring, onFatal }, () => leases);
  const mounts = new Mounts({
    pmem,
    memremap,
    waiters,
    clock,
    ids,
    log,
    readOnly: config.readOnly,
    pageFreeLatency,
    truncateWait: (op, outcome, seconds) => {
      truncateWaits.observe(op, outcome, seconds);
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
    filesystems: () =>
      mounts.mounted.map(({ partition, fs }) => ({
        partition: partition.name,
        readOnly: fs.readOnly,
        commitLatency: fs.commitCounters.latency,
        committedOperations: fs.commitCounters.operations,
      })),
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
  ports: Pick<OperationsOptions, 'clock' | 'events' | 'log' | 'onFatal'>,
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
    },
  });
}

/** What is there before anything is mounted. */
interface Ground extends OpenStore {
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

/** Serves block clients, where that is asked for. */
async function serveNbd(
  { config, clock, log, onFatal }: DaemonOptions,
  { backing, pmem }: Attached,
  leases: Leases,
): Promise<NbdServer | undefined> {
  if (config.nbd.addresses.length === 0) return undefined;
  const memory = backing.rawMemory?.();
  assert(memory !== undefined, 'what can be attached can be mapped once more');
  const { disk, pgmap } = pmem;
  const fileLeases = (partition: string): number => leases.countOnFiles(partition);
  const ports = { disk, pgmap, memory, fileLeases, clock, log, onFatal };
  return NbdServer.open({ ...config.nbd, ...ports });
}

async function listen(
  options: DaemonOptions,
  parts: Parts,
  { tokens, tls }: Access,
): Promise<readonly Listener[]> {
  const { config, version, log, clock, onFatal } = options;
  const unixSockets = new WeakSet();
  const hosts = config.listen.flatMap((at) => (at.kind === 'tcp' ? [at.host] : []));
  const app = await buildHttp({
    control: parts.control,
    guard: new HostGuard(['localhost', ...hosts, ...config.allowHosts], unixSockets),
    callers: new Callers(tokens, unixSockets),
    latencies: parts.latencies,
    events: parts.events,
    metrics: () => parts.metrics.page(),
    clock,
    log,
    version,
    onFatal,
    limits: LIMITS,
  });
  const listeners: Listener[] = [];
  try {
    for (const address of config.listen) {
      const route = app.routing.bind(app);
      listeners.push(await Listener.open(address, { route, tls, unixSockets, limits: LIMITS }));
    }
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.close()));
    throw error;
  }
  return listeners;
}
