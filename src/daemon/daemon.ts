import { LIMITS } from '../config/limits.js';
import type { ServeConfig } from '../config/load.js';
import { buildHttp } from '../http/app.js';
import { Callers } from '../http/callers.js';
import { HostGuard } from '../http/host-guard.js';
import { Listener } from '../http/listeners.js';
import type { LeaseView } from '../lease/lease.js';
import type { Leases } from '../lease/leases.js';
import { assert } from '../lib/assert.js';
import { checkAddresses } from '../lib/listen.js';
import type { ChosenAddress } from '../lib/listen.js';
import { Memremap } from '../mm/memremap.js';
import { PageWaiters } from '../mm/page-waiters.js';
import { NbdServer } from '../nbd/nbd-server.js';
import { readAccess } from './access.js';
import type { Access } from './access.js';
import { attach } from './attach.js';
import type { Attached } from './attach.js';
import { FenceCommand } from './fence-command.js';
import { checkStateDirectory, openStore } from './open-store.js';
import { assemble } from './parts.js';
import type { DaemonOptions, Parts } from './parts.js';

/** How often a drain looks whether the last lease is kept, in milliseconds. */
const DRAIN_POLL_MS = 20;

/** How a daemon ended. */
export interface Closed {
  /** Leases that nobody keeps: the time was up before the store had them. */
  readonly held: readonly LeaseView[];
  /** Whether all was unmounted, closed and detached; what was not is in the log. */
  readonly isInOrder: boolean;
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
    // What cannot be read, or listened on, stops the start before anything is written.
    const access = await readAccess(config, log);
    const { fenceCommand } = config;
    const fence = fenceCommand === undefined ? undefined : await FenceCommand.open(fenceCommand);
    await checkAddresses(addressesOf(config));
    checkStateDirectory(config);
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
      const nbd = await serveNbd(options, attached, access, parts.leases);
      if (nbd !== undefined) parts.control.serveNbd(nbd);
      const listeners = await listen(options, parts, access);
      return new Daemon(options, attached, parts, listeners);
    } catch (error) {
      // The next start goes on with what waits.
      parts.control.drain();
      await parts.control.nbd?.close();
      await parts.control.whenUnchanging();
      await giveBack(options, [
        () => parts.mounts.unmountAll(),
        () => parts.leases.close(),
        () => store.close(),
        () => attached.pmem.detach(),
      ]);
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
   * on with the next daemon. What fails on the way is logged, and keeps nothing else.
   */
  async close(): Promise<Closed> {
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
    const isInOrder = await giveBack(this.#options, [
      () => mounts.unmountAll(),
      () => leases.close(),
      () => {
        storeNote.drop(store);
      },
      () => store.close(),
      () => this.#attached.pmem.detach(),
    ]);
    log.info({ held: held.length }, 'detached');
    return { held, isInOrder };
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

/** Takes all steps, whichever of them fails; says whether none did. */
async function giveBack(
  { log }: DaemonOptions,
  steps: readonly (() => void | Promise<void>)[],
): Promise<boolean> {
  let isInOrder = true;
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      isInOrder = false;
      log.error({ err: error }, 'not all was given back in order: the next start recovers');
    }
  }
  return isInOrder;
}

/** Serves block clients, where that is asked for. */
async function serveNbd(
  { config, clock, log, onFatal }: DaemonOptions,
  { backing, pmem }: Attached,
  { nbdTls: tls }: Access,
  leases: Leases,
): Promise<NbdServer | undefined> {
  const { addresses, limits } = config.nbd;
  if (addresses.length === 0) return undefined;
  const memory = backing.rawMemory?.();
  assert(memory !== undefined, 'what can be attached can be mapped once more');
  const { disk, pgmap } = pmem;
  const fileLeases = (partition: string): number => leases.countOnFiles(partition);
  const ports = { disk, pgmap, memory, fileLeases, clock, log, onFatal };
  return NbdServer.open({ addresses, limits, tls, ...ports });
}

/** Everything that is listened on in the end. */
function addressesOf({ listen: http, nbd }: ServeConfig): ChosenAddress[] {
  return [
    ...http.map((address) => ({ address, option: '--listen' })),
    ...nbd.addresses.map(({ address }) => ({ address, option: '--nbd' })),
  ];
}

async function listen(
  options: DaemonOptions,
  parts: Parts,
  { tokens, tls }: Access,
): Promise<readonly Listener[]> {
  const { config, version, log, clock, onFatal } = options;
  const unixSockets = new WeakSet();
  const lastingConnections = new WeakSet();
  const hosts = config.listen.flatMap((at) => (at.kind === 'tcp' ? [at.host] : []));
  const app = await buildHttp({
    control: parts.control,
    guard: new HostGuard(['localhost', ...hosts, ...config.allowHosts], unixSockets),
    callers: new Callers(tokens, unixSockets),
    lastingConnections,
    latencies: parts.latencies,
    events: parts.events,
    metrics: () => parts.metrics.page(),
    clock,
    log,
    version,
    onFatal,
    limits: LIMITS,
  });
  const route = app.routing.bind(app);
  const shared = { route, tls, unixSockets, lastingConnections, limits: LIMITS };
  const listeners: Listener[] = [];
  try {
    for (const address of config.listen) listeners.push(await Listener.open(address, shared));
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.close()));
    throw error;
  }
  return listeners;
}
