import { Worker } from 'node:worker_threads';

import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import { SharedUses } from '../lib/shared-uses.js';
import type { Done, End, Serve, Started, WorkerBirth } from './connection-worker.js';
import { CutMark } from './cut-mark.js';
import type { Answer, Ask } from './main-calls.js';
import { NbdCounters } from './nbd-counters.js';
import type { TlsState } from './negotiation.js';

/** What all workers of a server are born with. */
export type SharedBirth = Pick<WorkerBirth, 'spinners' | 'spinnersMax' | 'limits' | 'tls'>;

/** A connection as its worker is given it. */
export interface ServedConnection {
  readonly fd: number;
  readonly tls: TlsState;
  /** Answers what the worker asks. @throws DaxdError, which the worker gets. */
  answer(ask: Ask): unknown;
}

/**
 * A thread that serves one connection at a time, seen from the main thread.
 *
 *     idle --serve--> serving --done--> idle
 */
export class NbdWorker {
  /** Requests under way. */
  readonly uses = new SharedUses();
  /** Whether its connection was cut. */
  readonly cut = new CutMark();
  /** What was counted of the connection. */
  readonly counters = new NbdCounters();
  /** Settles when it can serve, or never will; what it was given before waits until then. */
  readonly started: Promise<void>;
  readonly #answers = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  readonly #worker: Worker;
  /** Why its thread did not start. */
  #startFailure: string | undefined;
  #connection: ServedConnection | undefined;
  #done: (why: string | undefined) => void = () => {};

  /**
   * @param onFailure told when the thread dies that had started, which it never does but by a
   *   defect. One that does not start lacks descriptors or memory: its connection ends.
   * @throws Error where there is no thread to be had.
   */
  constructor(birth: SharedBirth, onFailure: (error: Error) => void) {
    const workerData: WorkerBirth = {
      ...birth,
      answers: this.#answers,
      uses: this.uses.memory,
      cut: this.cut.memory,
      counters: this.counters.memory,
    };
    this.#worker = new Worker(new URL('./connection-worker.js', import.meta.url), { workerData });
    this.started = new Promise((resolve) => {
      let hasStarted = false;
      this.#worker.on('message', (message: Ask | Done | Started) => {
        if ('done' in message) this.#end(message.why);
        else if ('ask' in message) this.#answer(message);
        else {
          hasStarted = true;
          resolve();
        }
      });
      this.#worker.on('error', (error) => {
        if (hasStarted) {
          onFailure(error);
          return;
        }
        this.#startFailure = `no thread could be started for it: ${error.message}`;
        this.#end(this.#startFailure);
        resolve();
      });
    });
  }

  /** Whether it serves, or is about to. */
  get isUsable(): boolean {
    return this.#startFailure === undefined;
  }

  /** Serves a connection to its end; gives what the client did wrong, if anything. */
  async serve(connection: ServedConnection): Promise<string | undefined> {
    assert(this.#connection === undefined, 'a worker serves one connection at a time');
    if (this.#startFailure !== undefined) return this.#startFailure;
    this.uses.revive();
    this.cut.clear();
    this.#connection = connection;
    const { fd, tls } = connection;
    const message: Serve = { fd, tls };
    return new Promise((resolve) => {
      this.#done = resolve;
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port of a worker, not a window
      this.#worker.postMessage(message);
    });
  }

  /** Ends the thread, which serves nothing. */
  async end(): Promise<void> {
    assert(this.#connection === undefined, 'a worker is ended between two connections');
    // Nothing but its exit: a thread that fails to start says `error` first, which is no failure here.
    const ended = new Promise<void>((resolve) => {
      this.#worker.once('exit', () => {
        resolve();
      });
    });
    const message: End = { end: true };
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port of a worker, not a window
    this.#worker.postMessage(message);
    await ended;
  }

  #end(why: string | undefined): void {
    this.#connection = undefined;
    this.#done(why);
  }

  #answer(ask: Ask): void {
    assert(this.#connection !== undefined, 'a worker asks for a connection that it serves');
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port of a worker, not a window
    this.#worker.postMessage(answerOf(this.#connection, ask));
    Atomics.add(this.#answers, 0, 1);
    Atomics.notify(this.#answers, 0);
  }
}

function answerOf(connection: ServedConnection, ask: Ask): Answer {
  try {
    return { value: connection.answer(ask) };
  } catch (failure) {
    if (!(failure instanceof DaxdError)) throw failure;
    return { code: failure.code, message: failure.message };
  }
}
