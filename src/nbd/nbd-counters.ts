import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../lib/latency-histogram.js';
import { NbdCmd, NbdError } from './protocol.js';

/** Labels of commands, by their number; anything else is the last. */
export const COMMANDS = [
  'read',
  'write',
  'disc',
  'flush',
  'trim',
  'cache',
  'write_zeroes',
  'block_status',
  'other',
] as const;

/** Labels of outcomes, and the errors of the wire they stand for. */
const OUTCOMES: readonly (readonly [label: string, error: NbdError])[] = [
  ['ok', NbdError.None],
  ['EPERM', NbdError.EPERM],
  ['EIO', NbdError.EIO],
  ['ENOMEM', NbdError.ENOMEM],
  ['EINVAL', NbdError.EINVAL],
  ['ENOSPC', NbdError.ENOSPC],
  ['EOVERFLOW', NbdError.EOVERFLOW],
  ['ENOTSUP', NbdError.ENOTSUP],
  ['ESHUTDOWN', NbdError.ESHUTDOWN],
];

/** What an error that is none of these counts as. */
const OUTCOME_UNKNOWN = OUTCOMES.findIndex(([, error]) => error === NbdError.EIO);

const HISTOGRAM_CELLS = LatencyHistogram.cellCount(FAST_BOUNDS_SECONDS);
const REQUESTS_CELLS = COMMANDS.length * OUTCOMES.length;
/** Bytes read, bytes written, pages that a trim left alone. */
const TOTALS_CELLS = 3;
const BYTES_READ = REQUESTS_CELLS;
const BYTES_WRITTEN = REQUESTS_CELLS + 1;
const TRIM_SKIPPED = REQUESTS_CELLS + 2;
const DURATIONS = REQUESTS_CELLS + TOTALS_CELLS;
const CELLS = DURATIONS + COMMANDS.length * HISTOGRAM_CELLS;

/**
 * What is counted of the requests to one export: plain numbers, which one thread adds to and
 * another reads. Each worker has counters of its own; they are added to those of the export
 * when its connection ends.
 */
export class NbdCounters {
  /** What another thread needs to stand on the same numbers. */
  readonly memory: SharedArrayBuffer;
  readonly durations: readonly LatencyHistogram[];
  readonly #cells: Float64Array;

  constructor(memory = new SharedArrayBuffer(CELLS * Float64Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#cells = new Float64Array(memory);
    this.durations = COMMANDS.map((_, command) => {
      const from = DURATIONS + command * HISTOGRAM_CELLS;
      const cells = this.#cells.subarray(from, from + HISTOGRAM_CELLS);
      return new LatencyHistogram(FAST_BOUNDS_SECONDS, cells);
    });
  }

  /** How often each command ended in each way. */
  *requests(): Generator<{
    readonly command: string;
    readonly outcome: string;
    readonly count: number;
  }> {
    for (const [i, command] of COMMANDS.entries()) {
      for (const [j, [outcome]] of OUTCOMES.entries()) {
        yield { command, outcome, count: this.#cells[i * OUTCOMES.length + j] ?? 0 };
      }
    }
  }

  get bytesRead(): number {
    return this.#cells[BYTES_READ] ?? 0;
  }

  get bytesWritten(): number {
    return this.#cells[BYTES_WRITTEN] ?? 0;
  }

  get trimSkippedPages(): number {
    return this.#cells[TRIM_SKIPPED] ?? 0;
  }

  /** @hot Once a request. */
  countRequest(type: number, error: NbdError): void {
    this.#add(cellOf(type, error), 1);
  }

  /** @hot Once a read. */
  countRead(bytes: number): void {
    this.#add(BYTES_READ, bytes);
  }

  /** Takes `reads` of those that were counted as good for failed: no byte of theirs was read. */
  recountReads(reads: number, bytes: number): void {
    this.#add(cellOf(NbdCmd.Read, NbdError.None), -reads);
    this.#add(cellOf(NbdCmd.Read, NbdError.EIO), reads);
    this.#add(BYTES_READ, -bytes);
  }

  /** @hot Once a write. */
  countWritten(bytes: number): void {
    this.#add(BYTES_WRITTEN, bytes);
  }

  countTrimSkipped(pages: number): void {
    this.#add(TRIM_SKIPPED, pages);
  }

  /** Adds what another counted. */
  add(other: NbdCounters): void {
    for (let cell = 0; cell < CELLS; cell++) this.#add(cell, other.#cells[cell] ?? 0);
  }

  /** Takes over what another counted, which is zero then. */
  absorb(other: NbdCounters): void {
    this.add(other);
    other.#cells.fill(0);
  }

  #add(cell: number, amount: number): void {
    this.#cells[cell] = (this.#cells[cell] ?? 0) + amount;
  }
}

/**
 * The place of a command in {@link COMMANDS}.
 *
 * @hot Once a request.
 */
export function commandOf(type: number): number {
  return Math.min(type, COMMANDS.length - 1);
}

/** @hot Once a request. */
function cellOf(type: number, error: NbdError): number {
  return commandOf(type) * OUTCOMES.length + outcomeOf(error);
}

/** @hot Once a request. */
function outcomeOf(error: NbdError): number {
  for (let i = 0; i < OUTCOMES.length; i++) if (OUTCOMES[i]?.[1] === error) return i;
  return OUTCOME_UNKNOWN;
}
