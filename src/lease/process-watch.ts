import type { CancelTimer, Clock } from '../lib/clock.js';
import { PROCESSES_PER_TURN, PROCESS_POLL_MS, PROCESS_TURN_MS } from './limits.js';
import type { ProcessRef, ProcessTable } from './process-table.js';

interface Watched<Held> {
  readonly process: ProcessRef;
  readonly held: Set<Held>;
}

/**
 * Tells when the process that holds something is gone. It looks about once a second, a
 * bounded number of processes a turn, and only while somebody is watched.
 */
export class ProcessWatch<Held> {
  readonly #processes: ProcessTable;
  readonly #clock: Clock;
  readonly #onGone: (held: Held) => void;
  readonly #watched = new Map<string, Watched<Held>>();
  #round: Iterator<[string, Watched<Held>]> | undefined;
  #cancelTimer: CancelTimer | undefined;

  /** `onGone` runs from a timer, once for each thing that the process held. */
  constructor(processes: ProcessTable, clock: Clock, onGone: (held: Held) => void) {
    this.#processes = processes;
    this.#clock = clock;
    this.#onGone = onGone;
  }

  /** How many processes are watched. */
  get size(): number {
    return this.#watched.size;
  }

  add(process: ProcessRef, held: Held): void {
    const key = keyOf(process);
    const watched = this.#watched.get(key) ?? { process, held: new Set() };
    watched.held.add(held);
    this.#watched.set(key, watched);
    if (this.#cancelTimer === undefined) this.#arm(PROCESS_POLL_MS);
  }

  /** Does nothing when it is not watched. */
  delete(process: ProcessRef, held: Held): void {
    const key = keyOf(process);
    const watched = this.#watched.get(key);
    if (watched === undefined) return;
    watched.held.delete(held);
    if (watched.held.size > 0) return;
    this.#watched.delete(key);
    if (this.#watched.size === 0) this.#stop();
  }

  #arm(delayMs: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#clock.setTimer(() => {
      this.#turn();
    }, delayMs);
  }

  #stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#round = undefined;
  }

  #turn(): void {
    this.#cancelTimer = undefined;
    this.#round ??= this.#watched.entries();
    for (let looked = 0; looked < PROCESSES_PER_TURN; looked++) {
      const next = this.#round.next();
      if (next.done === true) {
        this.#round = undefined;
        break;
      }
      this.#look(...next.value);
    }
    if (this.#watched.size === 0) this.#stop();
    else this.#arm(this.#round === undefined ? PROCESS_POLL_MS : PROCESS_TURN_MS);
  }

  #look(key: string, { process, held }: Watched<Held>): void {
    if (this.#processes.presence(process) !== 'gone') return;
    this.#watched.delete(key);
    for (const one of held) this.#onGone(one);
  }
}

function keyOf({ pid, startTicks }: ProcessRef): string {
  return `${pid}:${startTicks}`;
}
