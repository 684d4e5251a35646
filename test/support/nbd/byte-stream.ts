import type { Socket } from 'node:net';

/** A read that gets no byte for so long has failed: the peer owes an answer. */
const IDLE_TIMEOUT_MS = 120_000;

/** The peer closed the connection before all bytes asked for had come. */
export class EndOfStreamError extends Error {
  constructor(wanted: number, cause?: Error) {
    super(`the peer closed the connection, ${wanted} bytes were still to come`, { cause });
    this.name = 'EndOfStreamError';
  }
}

/**
 * A socket that is read by the byte and only as far as was asked, so that a test can be a slow
 * reader.
 */
export class ByteStream {
  readonly socket: Socket;
  #error: Error | undefined;

  /** @param socket connected, and read by nobody else. */
  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', (error) => {
      this.#error = error;
    });
    socket.setTimeout(IDLE_TIMEOUT_MS, () => {
      socket.destroy(new Error(`no byte for ${IDLE_TIMEOUT_MS} ms`));
    });
  }

  /**
   * Waits for exactly `length` bytes.
   *
   * @throws {EndOfStreamError} when fewer come before the end.
   */
  async read(length: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    let wanted = length;
    while (wanted > 0) {
      const piece = await this.#take(wanted);
      if (piece === undefined) throw new EndOfStreamError(wanted, this.#error);
      pieces.push(piece);
      wanted -= piece.length;
    }
    return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
  }

  /** Waits until the peer has closed the connection, however it did; what had come till then. */
  async readToEnd(): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (;;) {
      const piece = await this.#take(Number.POSITIVE_INFINITY);
      if (piece === undefined) break;
      pieces.push(piece);
    }
    if (this.#error?.message.startsWith('no byte for') === true) throw this.#error;
    return Buffer.concat(pieces);
  }

  /** Hands the bytes over and waits until the kernel has taken them. */
  async write(bytes: Uint8Array): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.socket.write(bytes, (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
  }

  /** Closes this side alone: the peer sees the end, and can still answer. */
  end(): void {
    this.socket.end();
  }

  /** Closes both sides at once. */
  destroy(): void {
    this.socket.destroy();
  }

  /** Some bytes, at least one and at most `max`; undefined after the last. */
  async #take(max: number): Promise<Buffer | undefined> {
    const { socket } = this;
    for (;;) {
      const here = Math.min(max, socket.readableLength);
      const piece = here > 0 ? (socket.read(here) as Buffer | null) : null;
      if (piece !== null) return piece;
      if (socket.readableEnded || socket.destroyed) return undefined;
      // Starts the next read of the socket; at the end of the stream it is what emits 'end'.
      socket.read(0);
      await this.#somethingNew();
    }
  }

  async #somethingNew(): Promise<void> {
    const { socket } = this;
    const events = ['readable', 'end', 'close'] as const;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        for (const event of events) socket.off(event, done);
        resolve();
      };
      for (const event of events) socket.on(event, done);
    });
  }
}
