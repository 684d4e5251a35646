import { NbdWorker, type SharedBirth } from './nbd-worker.js';

/** Workers that wait for connections, so that one need not wait for a thread to start. */
const WARM_WORKERS = 4;

/** The workers of a server: as many as there are connections, and a few that wait. */
export class WorkerPool {
  readonly #birth: SharedBirth;
  readonly #onFailure: (error: Error) => void;
  readonly #idle: NbdWorker[] = [];
  readonly #busy = new Set<NbdWorker>();

  constructor(birth: SharedBirth, onFailure: (error: Error) => void) {
    this.#birth = birth;
    this.#onFailure = onFailure;
    for (let i = 0; i < WARM_WORKERS; i++) this.#idle.push(this.#start());
  }

  /** Those that serve now. */
  get busy(): ReadonlySet<NbdWorker> {
    return this.#busy;
  }

  /** A worker for one connection; {@link give} takes it back. */
  take(): NbdWorker {
    const worker = this.#idle.pop() ?? this.#start();
    this.#busy.add(worker);
    return worker;
  }

  give(worker: NbdWorker): void {
    this.#busy.delete(worker);
    if (this.#idle.length < WARM_WORKERS) this.#idle.push(worker);
    else void worker.end();
  }

  /** Ends all workers, of which none serves any more. */
  async close(): Promise<void> {
    await Promise.all(this.#idle.splice(0).map((worker) => worker.end()));
  }

  #start(): NbdWorker {
    return new NbdWorker(this.#birth, this.#onFailure);
  }
}
