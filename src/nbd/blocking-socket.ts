import type { Arena } from '../media/arena.js';
import { ClientGone } from './connection-end.js';
import type { Transfer } from './handshake.js';
import { Iovecs } from './iovecs.js';
import { CallFailures, recv, sendAll } from './socket-calls.js';
import type { WorkerArena } from './worker-arena.js';

const NOTHING = Buffer.alloc(0);

/** A socket whose calls wait, for the handshake: whole messages in and out. */
export class BlockingSocket {
  readonly #fd: number;
  readonly #in: Arena;
  readonly #out: Arena;
  readonly #pieces: Iovecs;
  readonly #failures = new CallFailures();

  constructor(fd: number, arena: WorkerArena) {
    this.#fd = fd;
    this.#in = arena.receive;
    this.#out = arena.heads;
    this.#pieces = arena.incoming;
  }

  /**
   * Does what a protocol's course asks, to its end.
   *
   * @throws ClientGone, and whatever the course throws.
   */
  run<End>(course: Generator<Transfer, End, Buffer>): End {
    let step = course.next(NOTHING);
    while (step.done !== true) {
      const { value } = step;
      if ('write' in value) this.#write(value.write);
      step = course.next('read' in value ? this.#read(value.read) : NOTHING);
    }
    return step.value;
  }

  #read(length: number): Buffer {
    const whole = Buffer.alloc(length);
    for (let done = 0; done < length;) {
      const received = this.#receive(Math.min(length - done, this.#in.bytes.length));
      this.#in.bytes.copy(whole, done, 0, received);
      done += received;
    }
    return whole;
  }

  #receive(length: number): number {
    for (;;) {
      const received = recv(this.#fd, this.#in.address, length, 0);
      if (received > 0) return received;
      if (received === 0 || this.#failures.look() !== 'again') throw new ClientGone();
    }
  }

  #write(message: Buffer): void {
    for (let done = 0; done < message.length;) {
      const run = message.copy(this.#out.bytes, 0, done);
      this.#send(run);
      done += run;
    }
  }

  #send(length: number): void {
    this.#pieces.clear();
    this.#pieces.push(this.#out.address, length);
    sendAll(this.#fd, this.#pieces, this.#failures);
  }
}
