import { availableParallelism } from 'node:os';

import type { Gendisk } from '../block/gendisk.js';
import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { LatencyHistogram } from '../lib/latency-histogram.js';
import type { Logger } from '../lib/logger.js';
import { checkCopyCalls } from '../media/process-vm.js';
import type { RawMemory } from '../media/raw-memory.js';
import type { DevPagemap } from '../mm/dev-pagemap.js';
import { Connection } from './connection.js';
import type { ExportInfo } from './export.js';
import { Exports } from './exports.js';
import type { ExportsOptions } from './exports.js';
import type { HandshakeLimits } from './handshake.js';
import { COMMANDS, NbdCounters } from './nbd-counters.js';
import { type NbdAddress, NbdListener } from './nbd-listener.js';
import type { NbdWorker } from './nbd-worker.js';
import type { TlsState } from './negotiation.js';
import { closeDescriptor, tuneSocket } from './socket-calls.js';
import type { TlsKeys } from './tls-transport.js';
import { WorkerPool } from './worker-pool.js';

/** How much NBD clients get. */
interface NbdLimits extends HandshakeLimits {
  readonly connectionsMax: number;
  readonly handshakeTimeoutMs: number;
  /** Bytes of replies that one connection gathers, or leaves unread under TLS. */
  readonly inFlightBytes: number;
}

/** What a server serves, and how. */
export interface NbdServerOptions extends Pick<ExportsOptions, 'fileLeases'> {
  readonly addresses: readonly NbdAddress[];
  /** Undefined: no client comes under TLS. */
  readonly tls: TlsKeys | undefined;
  readonly limits: NbdLimits;
  readonly disk: Gendisk;
  readonly pgmap: DevPagemap | undefined;
  readonly memory: RawMemory;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told of a broken invariant in a worker. */
  readonly onFatal: (error: Error) => void;
}

/** How connections ended, for the metrics. */
export interface ConnectionCounts {
  served: number;
  refused: number;
  timedOut: number;
}

/** What was counted of one export, in plain numbers. */
export interface ExportSeries extends Pick<
  NbdCounters,
  'bytesRead' | 'bytesWritten' | 'requests' | 'trimSkippedPages'
> {
  readonly name: string;
  durations(): readonly { readonly command: string; readonly histogram: LatencyHistogram }[];
}

/** How often a drain looks again at connections with a request under way, in milliseconds. */
const DRAIN_POLL_MS = 20;

/** The NBD server of one device. */
export class NbdServer {
  readonly #options: NbdServerOptions;
  readonly #exports: Exports;
  readonly #pool: WorkerPool;
  readonly #listeners: NbdListener[] = [];
  readonly #connections = new Map<Connection, Promise<void>>();
  readonly #counts: ConnectionCounts = { served: 0, refused: 0, timedOut: 0 };
  #draining = false;

  private constructor(options: NbdServerOptions, exports: Exports, pool: WorkerPool) {
    this.#options = options;
    this.#exports = exports;
    this.#pool = pool;
  }

  /**
   * Starts the workers and listens.
   *
   * @throws DaxdError EPERM in a sandbox that forbids the calls it needs, and what `listenOn`
   *   says; nothing is left behind.
   */
  static async open(options: NbdServerOptions): Promise<NbdServer> {
    checkCopyCalls();
    const { limits, tls } = options;
    const birth = {
      spinners: new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)),
      spinnersMax: availableParallelism() - 1,
      limits,
      tls,
    };
    const pool = new WorkerPool(birth, options.onFatal);
    const server = new NbdServer(options, new Exports(options), pool);
    try {
      for (const { address, remote } of options.addresses) {
        const state = tls === undefined ? 'absent' : remote ? 'required' : 'offered';
        await server.#listen(address, state);
      }
      return server;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /** Where it listens, as URIs. */
  get uris(): readonly string[] {
    return this.#listeners.map(({ uri }) => uri);
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Ended connections, by how they ended. */
  get counts(): Readonly<ConnectionCounts> {
    return this.#counts;
  }

  /** What can be opened now, and how many connections have it open. */
  list(): (ExportInfo & { readonly clients: number })[] {
    return this.#exports.list().map((info) => ({
      ...info,
      clients: this.#exports.clients(info.name),
    }));
  }

  /** What was counted, by export, connections under way included. */
  *exportSeries(): Generator<ExportSeries> {
    for (const [name, ended] of this.#exports.counters) {
      const counters = new NbdCounters();
      counters.add(ended);
      for (const connection of this.#connections.keys()) {
        if (connection.exportName === name) counters.add(connection.counters);
      }
      const { bytesRead, bytesWritten, trimSkippedPages } = counters;
      yield {
        name,
        bytesRead,
        bytesWritten,
        trimSkippedPages,
        requests: () => counters.requests(),
        durations: () =>
          COMMANDS.flatMap((command, i) => {
            const histogram = counters.durations[i];
            return histogram === undefined ? [] : [{ command, histogram }];
          }),
      };
    }
  }

  /**
   * Ends the connections that have an export open, and does `work` once they have ended. Until it
   * is over, however it ends, nobody opens the export: clients come back at once.
   */
  async withoutClients<T>(name: string, work: () => Promise<T>): Promise<T> {
    const readmit = this.#exports.refuse(name);
    try {
      const cut = [...this.#connections].filter(([{ exportName }]) => exportName === name);
      for (const [connection] of cut) connection.cut();
      await Promise.all(cut.map(([, ended]) => ended));
      return await work();
    } finally {
      readmit();
    }
  }

  /** Refuses new connections, exports and requests from now on. */
  drain(): void {
    this.#draining = true;
    for (const connection of this.#connections.keys()) connection.refuseRequests();
  }

  /** Ends connections as their requests end, and all that are left after `graceMs`. */
  async close(graceMs = 0): Promise<void> {
    this.drain();
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    const untilMs = this.#options.clock.nowMs() + graceMs;
    while (this.#connections.size > 0) {
      const isOver = this.#options.clock.nowMs() >= untilMs;
      for (const connection of this.#connections.keys()) {
        if (isOver) connection.cut();
        else connection.endIfIdle();
      }
      await this.#pause(DRAIN_POLL_MS);
    }
    await this.#pool.close();
  }

  async #listen(address: NbdAddress['address'], tls: TlsState): Promise<void> {
    const listener = await NbdListener.open(address, tls, (fd) => {
      this.#accept(fd, tls);
    });
    this.#listeners.push(listener);
  }

  #accept(fd: number, tls: TlsState): void {
    const { limits } = this.#options;
    const isFull = this.#connections.size >= limits.connectionsMax;
    const worker = this.#draining || isFull ? undefined : this.#takeWorker();
    if (worker === undefined) {
      this.#counts.refused++;
      closeDescriptor(fd);
      return;
    }
    tuneSocket(fd, limits.inFlightBytes);
    const { clock, disk, memory, pgmap } = this.#options;
    const { handshakeTimeoutMs } = limits;
    const usage = disk.queue.usageCounter;
    const connection = new Connection(
      { fd, tls, exports: this.#exports, pgmap, memory, usage, clock, handshakeTimeoutMs },
      worker,
    );
    this.#connections.set(connection, this.#serve(connection, worker));
  }

  #takeWorker(): NbdWorker | undefined {
    try {
      return this.#pool.take();
    } catch (failure) {
      if (!(failure instanceof DaxdError)) throw failure;
      this.#options.log.warn({ reason: failure.message }, 'an NBD client was refused');
      return undefined;
    }
  }

  async #serve(connection: Connection, worker: NbdWorker): Promise<void> {
    const why = await connection.serve();
    this.#pool.give(worker);
    this.#ended(connection, why);
  }

  #ended(connection: Connection, why: string | undefined): void {
    this.#connections.delete(connection);
    const { exportName, timedOut } = connection;
    if (timedOut) this.#counts.timedOut++;
    else this.#counts.served++;
    const reason = timedOut ? 'its handshake took too long' : why;
    if (reason !== undefined) {
      this.#options.log.warn({ export: exportName, reason }, 'an NBD client was cut off');
    }
  }

  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#options.clock.setTimer(resolve, ms);
    });
  }
}
