import { writeSync } from 'node:fs';

import { systemCodeOf } from '../lib/errno.js';

/** Bytes that are gathered before they are written. */
const GATHER_BYTES = 65_536;
/** Bytes kept for a reader that does not keep up; what comes beyond is dropped. */
const KEPT_BYTES_MAX = 1_048_576;
/** Bytes of UTF-8 that one unit of a string takes at most. */
const UNIT_BYTES_MAX = 3;

/**
 * Where log lines go: a file descriptor. Whatever happens there, the daemon goes on: it waits
 * for no reader that is slow, and does not mind one that is gone.
 */
export class LogOutput {
  readonly #fd: number;
  /** What the last write left, then the lines since. */
  readonly #kept = Buffer.allocUnsafe(KEPT_BYTES_MAX);
  #bytes = 0;
  /** Lines since the last write. */
  #lines = 0;
  #dropped = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Lines lost so far, to a reader that was too slow or is gone. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Takes one line, with its newline. */
  write(line: string): void {
    if (this.#bytes + line.length * UNIT_BYTES_MAX > KEPT_BYTES_MAX) {
      this.#dropped++;
      return;
    }
    this.#bytes += this.#kept.write(line, this.#bytes);
    this.#lines++;
    if (this.#bytes >= GATHER_BYTES) this.flush();
  }

  /** Writes what was gathered, as far as the reader takes it now. */
  flush(): void {
    if (this.#bytes === 0) return;
    const done = this.#put();
    if (done > 0) this.#kept.copyWithin(0, done, this.#bytes);
    this.#bytes -= done;
    this.#lines = 0;
  }

  /** How many of the bytes are done with. */
  #put(): number {
    try {
      return writeSync(this.#fd, this.#kept, 0, this.#bytes);
    } catch (error) {
      // A full pipe that does not block takes the lines later; any other failure loses them.
      if (systemCodeOf(error) === 'EAGAIN') return 0;
      this.#dropped += this.#lines;
      return this.#bytes;
    }
  }
}
