import { assert } from '../lib/assert.js';
import { MIB, PAGE_SIZE } from '../lib/units.js';
import { ClientGone } from './connection-end.js';
import type { Iovecs } from './iovecs.js';
import { CallFailures, closeDescriptor, openPipe, splice, vmsplice } from './socket-calls.js';

/** What an unprivileged process may ask for (fs.pipe-max-size), unless that was changed. */
const PIPE_BYTES = MIB;

/**
 * Pages of the map on their way to a socket: by reference, so that nothing copies them but the
 * client's own call. They are held from {@link fill} on, and cannot turn out bad any more; what
 * is stored to them until the client takes them is what it gets.
 *
 * A pipe is opened when it is first filled, and has two descriptors until {@link close}, or until
 * a client leaves some in it.
 */
export class PagePipe {
  readonly #piece: Iovecs;
  readonly #failures = new CallFailures();
  #in = -1;
  #out = -1;
  #pages = 0;
  /** Bytes that were filled in and not drained. */
  #bytes = 0;

  /** @param piece of which one is used in each call. */
  constructor(piece: Iovecs) {
    this.#piece = piece;
  }

  /**
   * Takes bytes at an address, as many as it holds and as are readable. It is empty before.
   *
   * @returns how many; 0 where the first cannot be read, or there is no pipe to be had.
   * @hot Once a MiB of large reads.
   */
  fill(address: number, length: number): number {
    assert(this.#bytes === 0, 'a pipe is drained or dropped before it is filled again');
    if (this.#in < 0 && !this.#open()) return 0;
    const run = Math.min(length, this.#pages * PAGE_SIZE - (address % PAGE_SIZE));
    this.#piece.clear();
    this.#piece.push(address, run);
    const taken = vmsplice(this.#in, this.#piece.arrayAddress, 1);
    this.#bytes = Math.max(0, taken);
    return this.#bytes;
  }

  /**
   * Sends what it holds, waiting until the socket has taken all.
   *
   * @throws ClientGone
   * @hot Once a MiB of large reads.
   */
  drainTo(socket: number): void {
    while (this.#bytes > 0) {
      const sent = splice(this.#out, socket, this.#bytes);
      if (sent > 0) this.#bytes -= sent;
      else if (sent === 0 || this.#failures.look() !== 'again') throw new ClientGone();
    }
    this.#failures.clear();
  }

  /**
   * Gives the pages back that a client left in it, which nothing but its end does; an empty pipe
   * stays open for the next client.
   */
  drop(): void {
    if (this.#bytes > 0) this.close();
  }

  /** Gives its pages and its descriptors back. */
  close(): void {
    if (this.#in < 0) return;
    closeDescriptor(this.#in);
    closeDescriptor(this.#out);
    this.#in = -1;
    this.#bytes = 0;
  }

  #open(): boolean {
    const pipe = openPipe(PIPE_BYTES);
    if (pipe === undefined) return false;
    this.#in = pipe.in;
    this.#out = pipe.out;
    this.#pages = pipe.bytes / PAGE_SIZE;
    return true;
  }
}
