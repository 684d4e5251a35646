import { writeSync } from 'node:fs';

/** Bytes that are gathered before they are written. */
const GATHER_BYTES = 8_192;
/** Bytes kept for a reader that does not keep up; what comes beyond is dropped. */
const KEPT_BYTES_MAX = 1_048_576;

/**
 * Where log lines go: a file descriptor. Whatever happens there, the daemon goes on: it waits
 * for no reader that is slow, and does not mind one that is gone.
 */
export class LogOutput {
  readonly #fd: number;
  /** What the last write left, then the lines since. */
  #rest: Buffer = Buffer.alloc(0);
  #lines: string[] = [];
  #bytes = 0;
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
    if (this.#bytes >= KEPT_BYTES_MAX) {
      this.#dropped++;
      return;
    }
    this.#lines.push(line);
    this.#bytes += line.length;
    if (this.#bytes >= GATHER_BYTES) this.flush();
  }

  /** Writes what was gathered, as far as the reader takes it now. */
  flush(): void {
    const bytes = Buffer.concat([this.#rest, Buffer.from(this.#lines.join(''))]);
    if (bytes.length === 0) return;
    this.#keep(bytes.subarray(this.#put(bytes)));
  }

  /** How many of the bytes are done with. */
  #put(bytes: Buffer): number {
    try {
      return writeSync(this.#fd, bytes);
    } catch (error) {
      // A full pipe that does not block takes the lines later; any other failure loses them.
      if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return 0;
      this.#dropped += this.#lines.length;
      return bytes.length;
    }
  }

  #keep(rest: Buffer): void {
    this.#rest = rest;
    this.#lines = [];
    this.#bytes = rest.length;
  }
}
