import { assert } from '../lib/assert.js';
import type { CancelTimer, Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { UsageRef } from '../lib/usage-ref.js';
import type { RawMemory } from '../media/raw-memory.js';
import type { DevPagemap } from '../mm/dev-pagemap.js';
import { discard } from './discard.js';
import type { OpenExport } from './export.js';
import type { Exports } from './exports.js';
import type { Answers, Ask, Discarded, DiscardRequest } from './main-calls.js';
import type { NbdCounters } from './nbd-counters.js';
import type { NbdWorker, ServedConnection } from './nbd-worker.js';
import type { TlsState } from './negotiation.js';
import { closeDescriptor, shutdownBoth, shutdownReceive } from './socket-calls.js';
import { tryDiscard } from './try-discard.js';

/** What a connection is made from. */
export interface ConnectionOptions {
  /** A blocking socket, which the connection closes. */
  readonly fd: number;
  readonly tls: TlsState;
  readonly exports: Exports;
  readonly pgmap: DevPagemap | undefined;
  readonly memory: RawMemory;
  /** Counts requests under way, for whoever detaches the device. */
  readonly usage: UsageRef;
  readonly clock: Clock;
  readonly handshakeTimeoutMs: number;
}

/**
 * A connection, seen from the main thread: what its worker may ask, and the ways to end it.
 *
 *     negotiating --open--> open --its worker is done--> ended
 *          \-- time is up, or cut --> ended
 */
export class Connection implements ServedConnection {
  readonly fd: number;
  readonly tls: TlsState;
  readonly #options: ConnectionOptions;
  readonly #worker: NbdWorker;
  #export: OpenExport | undefined;
  #timedOut = false;
  #ended = false;
  #cancelTimer: CancelTimer = () => {};

  constructor(options: ConnectionOptions, worker: NbdWorker) {
    this.fd = options.fd;
    this.tls = options.tls;
    this.#options = options;
    this.#worker = worker;
  }

  /** The name of what it has open; undefined during the handshake. */
  get exportName(): string | undefined {
    return this.#export?.info.name;
  }

  /** Whether its handshake took too long. */
  get timedOut(): boolean {
    return this.#timedOut;
  }

  /** Has its worker serve it to the end; gives what the client did wrong, if anything. */
  async serve(): Promise<string | undefined> {
    try {
      const served = this.#worker.serve(this);
      // What a thread takes to start is no time of the client's.
      await this.#worker.started;
      if (this.#export === undefined) this.#startTimer();
      return await served;
    } finally {
      this.#ended = true;
      this.#cancelTimer();
      closeDescriptor(this.fd);
      this.#close();
    }
  }

  /** @throws DaxdError for the worker: ENOENT, EBUSY, `draining`, and what a discard says. */
  answer(ask: Ask): Answers[Ask['ask']] {
    const { exports } = this.#options;
    if (ask.ask === 'discard' || ask.ask === 'try-discard') return this.#discard(ask);
    if (ask.ask === 'list') return exports.list();
    this.#refuseDraining();
    return ask.ask === 'describe' ? exports.describe(ask.name) : this.#open(ask.name);
  }

  /** What its requests counted. */
  get counters(): NbdCounters {
    return this.#worker.counters;
  }

  /** Answers new requests with ESHUTDOWN from now on. */
  refuseRequests(): void {
    this.#worker.uses.kill();
  }

  /**
   * Ends it where it is between two requests: what the client has sent by now is refused with
   * ESHUTDOWN. A request under way goes on.
   */
  endIfIdle(): void {
    this.refuseRequests();
    if (this.#worker.uses.count === 0) shutdownReceive(this.fd);
  }

  /** Ends it where it stands: a long request between two of its pieces. */
  cut(): void {
    if (this.#ended) return;
    this.#worker.cut.set();
    shutdownBoth(this.fd);
  }

  /** Ends the handshake when its time is up. */
  #startTimer(): void {
    const { clock, handshakeTimeoutMs } = this.#options;
    this.#cancelTimer = clock.setTimer(() => {
      this.#timedOut = true;
      this.cut();
    }, handshakeTimeoutMs);
  }

  #open(name: string): OpenExport {
    assert(this.#export === undefined, 'a connection opens one export');
    const { exports, usage } = this.#options;
    const opened = exports.open(name);
    const isCounted = usage.addShare(this.#worker.uses);
    assert(isCounted, 'a device that goes away opens nothing');
    this.#export = opened;
    this.#cancelTimer();
    return opened;
  }

  #refuseDraining(): void {
    const { usage } = this.#options;
    if (usage.dying || this.#worker.uses.dying) {
      throw new DaxdError('draining', 'daxd is shutting down');
    }
  }

  #discard(ask: Extract<Ask, DiscardRequest>): Discarded | boolean {
    assert(this.#export !== undefined, 'only what is open is discarded');
    const { exports, pgmap, memory } = this.#options;
    const at = { memory, pgmap, range: exports.openRange(this.#export.info.name) };
    return ask.ask === 'discard' ? discard(at, ask) : tryDiscard(at, ask);
  }

  #close(): void {
    if (this.#export === undefined) return;
    const { exports, usage } = this.#options;
    usage.dropShare(this.#worker.uses);
    exports.close(this.#export.info.name, this.#worker.counters);
  }
}
