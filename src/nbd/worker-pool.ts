import { DaxdError } from '../lib/errno.js';
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

  /**
   * A worker for one connection; {@link give} takes it back.
   *
   * @throws DaxdError ENOMEM where there is no thread to be had.
   */
  take(): NbdWorker {
    for (;;) {
      const worker = this.#idle.pop() ?? this.#start();
      if (worker.isUsable) return worker;
    }
  }

  give(worker: NbdWorker): void {
    if (worker.isUsable) this.#idle.push(worker);
  }

  /** Ends all workers, of which none serves any more. */
  async close(): Promise<void> {
    const usable = this.#idle.splice(0).filter(({ isUsable }) => isUsable);
    await Promise.all(usable.map((worker) => worker.end()));
  }

  #start(): NbdWorker {
    try {
      return new NbdWorker(this.#birth, this.#onFailure);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const advice = 'raise the limits of descriptors and threads (LimitNOFILE, TasksMax)';
      throw new DaxdError('ENOMEM', `no thread could be started for NBD (${why}): ${advice}`);
    }
  }
}
