import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { COMMANDS, commandOf, type NbdCounters } from './nbd-counters.js';
import type { NbdError } from './protocol.js';
import type { Request } from './request.js';

/**
 * Counts the requests of a connection, and what those of a batch took: from its receipt until its
 * replies were sent, or could not be. Each request that is counted has its duration, too.
 */
export class BatchTimes {
  readonly #counters: NbdCounters;
  readonly #clock: Clock;
  /** Requests of the batch, by command, whose duration has not ended. */
  readonly #timed = new Int32Array(COMMANDS.length);
  #startMs = 0;

  constructor(counters: NbdCounters, clock: Clock) {
    this.#counters = counters;
    this.#clock = clock;
  }

  /** A batch was received. @hot Once a batch. */
  start(receivedMs: number): void {
    this.#startMs = receivedMs;
  }

  /** A request has its outcome. @hot Once a request. */
  count({ type }: Request, error: NbdError): void {
    const command = commandOf(type);
    this.#counters.countRequest(type, error);
    this.#timed[command] = (this.#timed[command] ?? 0) + 1;
  }

  /** The requests that were counted are over. @hot Once a batch. */
  observe(): void {
    const seconds = (this.#clock.nowMs() - this.#startMs) / 1000;
    for (let command = 0; command < this.#timed.length; command++) {
      const times = this.#timed[command] ?? 0;
      if (times === 0) continue;
      const histogram = this.#counters.durations[command];
      assert(histogram !== undefined, 'every command has its histogram');
      histogram.observe(seconds, times);
      this.#timed[command] = 0;
    }
  }
}
