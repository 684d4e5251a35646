import { NbdWorker, type SharedBirth } from './nbd-worker.js';

/** Workers that wait for connections, so that one need not wait for a thread to start. */
const WARM_WORKERS = 4;

/**
 * The workers of a server: a few that wait from the start, and as many as there ever were
 * connections at a time. A thread that ended leaves memory of its native parts behind, so none
 * ends before the server does.
 */
export class WorkerPool {
  readonly #birth: SharedBirth;
  readonly #onFailure: (error: Error) => void;
  readonly #idle: NbdWorker[] = [];

  constructor(birth: SharedBirth, onFailure: (error: Error) => void) {
    this.#birth = birth;
    this.#onFailure = onFailure;
    for (let i = 0; i < WARM_WORKERS; i++) this.#idle.push(this.#start());
  }

  /** A worker for one connection; {@link give} takes it back. */
  take(): NbdWorker {
    return this.#idle.pop() ?? this.#start();
  }

  give(worker: NbdWorker): void {
    this.#idle.push(worker);
  }

  /** Ends all workers, of which none serves any more. */
  async close(): Promise<void> {
    await Promise.all(this.#idle.splice(0).map((worker) => worker.end()));
  }

  #start(): NbdWorker {
    return new NbdWorker(this.#birth, this.#onFailure);
  }
}
