import type { OpenFile } from './open-file.js';

/**
 * The pieces of a file as a stream that holds the file open until it ends: with its last
 * piece, a failure, or the reader's leave. Open before the first piece is asked for, so that a
 * file removed in between is read all the same.
 */
export class FileStream implements AsyncIterableIterator<Buffer> {
  readonly #file: OpenFile;
  readonly #pieces: AsyncGenerator<Buffer, void, undefined>;

  /** @param pieces reads the file; it is not asked for more once it ended */
  constructor(file: OpenFile, pieces: AsyncGenerator<Buffer, void, undefined>) {
    this.#file = file;
    this.#pieces = pieces;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Buffer, undefined>> {
    try {
      const piece = await this.#pieces.next();
      if (piece.done !== true) return piece;
    } catch (error) {
      await this.#file.close();
      throw error;
    }
    return await this.return();
  }

  /** The reader leaves early, as `break` out of a loop does. */
  async return(): Promise<IteratorResult<Buffer, undefined>> {
    await this.#file.close();
    await this.#pieces.return();
    return { done: true, value: undefined };
  }
}
