import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import type { Arena } from '../media/arena.js';
import { ClientGone } from './connection-end.js';
import type { Iovecs } from './iovecs.js';
import { CallFailures, MSG_DONTWAIT, recv, recvmsg } from './socket-calls.js';
import { SPIN_MS, type SpinGate } from './spin-gate.js';
import type { WorkerArena } from './worker-arena.js';

/** What {@link Incoming.receiveInto} gives where nothing came yet, or the place is bad. */
export const NOTHING_YET = 0;
export const BAD_PLACE = -1;

/** What bytes come from. */
export interface IncomingParts {
  readonly fd: number;
  readonly arena: WorkerArena;
  readonly spin: SpinGate;
  readonly clock: Clock;
  /** Bytes of a request's header. */
  readonly headerBytes: number;
}

/**
 * Bytes from the client: requests, and what came along with them. After a write only the next
 * header is asked for, so that the payload behind it can go straight to its place.
 */
export class Incoming {
  readonly view: DataView;
  /** Where the next byte stands in the buffer. */
  at = 0;
  #end = 0;
  #headersOnly = false;
  #receivedMs: number;
  readonly #fd: number;
  readonly #buffer: Arena;
  readonly #pieces: Iovecs;
  readonly #spin: SpinGate;
  readonly #clock: Clock;
  readonly #headerBytes: number;
  readonly #failures = new CallFailures();

  constructor({ fd, arena, spin, clock, headerBytes }: IncomingParts) {
    this.#fd = fd;
    this.#buffer = arena.receive;
    this.#pieces = arena.incoming;
    this.#spin = spin;
    this.#clock = clock;
    this.#headerBytes = headerBytes;
    this.#receivedMs = clock.nowMs();
    const { buffer, byteOffset, length } = arena.receive.bytes;
    this.view = new DataView(buffer, byteOffset, length);
  }

  /** When bytes came last, on the clock. */
  get receivedMs(): number {
    return this.#receivedMs;
  }

  /** Bytes that were received and not taken. */
  get bytes(): number {
    return this.#end - this.at;
  }

  /** Where the next byte stands in memory. */
  get address(): number {
    return this.#buffer.address + this.at;
  }

  /** Moves on by `length` bytes, which are there. @hot Once a request. */
  take(length: number): void {
    assert(length <= this.bytes, 'only what came is taken');
    this.at += length;
  }

  /** Moves on by at most `length` bytes; gives by how many. */
  takeUpTo(length: number): number {
    const taken = Math.min(length, this.bytes);
    this.at += taken;
    return taken;
  }

  /** The last request came without a payload: the next ones may come many at a time. */
  expectHeaders(): void {
    this.#headersOnly = false;
  }

  /** The last request had a payload behind it: so will the next one. */
  expectPayload(): void {
    this.#headersOnly = true;
  }

  /**
   * Waits until a whole header is there.
   *
   * @returns false when the client has closed its side between two requests.
   * @throws ClientGone when it left within one.
   * @hot Once a batch.
   */
  receive(): boolean {
    this.#pack();
    while (this.#end < this.#headerBytes) {
      const room = this.#headersOnly ? this.#headerBytes : this.#buffer.bytes.length;
      const received = this.#receive(room - this.#end);
      if (received === 0 && this.#end === 0) return false;
      if (received === 0) throw new ClientGone();
      this.#end += received;
    }
    return true;
  }

  /**
   * Receives into memory, and the next header behind it. Nothing that came before is left.
   *
   * @returns bytes that came to `address`; {@link NOTHING_YET} where it is only to look;
   *   {@link BAD_PLACE} when the memory there cannot be stored to.
   * @throws ClientGone
   * @hot Once a write.
   */
  receiveInto(address: number, length: number, how: 'wait' | 'look'): number {
    assert(this.bytes === 0, 'what came first is taken first');
    this.at = 0;
    this.#end = 0;
    this.#pieces.clear();
    this.#pieces.push(address, length);
    this.#pieces.push(this.#buffer.address, this.#headerBytes);
    const received = recvmsg(this.#fd, this.#pieces.arm(), how === 'wait' ? 0 : MSG_DONTWAIT);
    if (received > length) this.#end = received - length;
    if (received > 0) {
      this.#failures.clear();
      return Math.min(received, length);
    }
    if (received === 0) throw new ClientGone();
    const failure = this.#failures.look();
    if (failure === 'gone') throw new ClientGone();
    return failure === 'again' ? NOTHING_YET : BAD_PLACE;
  }

  /** Receives up to `length` bytes and forgets them; gives how many. @throws ClientGone */
  drain(length: number): number {
    assert(this.bytes === 0, 'what came first is taken first');
    const { address, bytes } = this.#buffer;
    const received = this.#wait(address, Math.min(length, bytes.length));
    if (received === 0) throw new ClientGone();
    return received;
  }

  /** Moves a header that came in part to the front. @hot Once a batch. */
  #pack(): void {
    const left = this.bytes;
    if (left > 0 && this.at > 0) this.#buffer.bytes.copyWithin(0, this.at, this.#end);
    this.at = 0;
    this.#end = left;
  }

  /** @hot Once a batch. */
  #receive(length: number): number {
    const address = this.#buffer.address + this.#end;
    const received = this.#spin.tryEnter() ? this.#look(address, length) : -1;
    const result = received >= 0 ? received : this.#wait(address, length);
    const nowMs = this.#clock.nowMs();
    this.#spin.took(nowMs - this.#receivedMs);
    this.#receivedMs = nowMs;
    return result;
  }

  /** Looks for bytes for a moment; -1 when none came. @hot Once a batch. */
  #look(address: number, length: number): number {
    const untilMs = this.#clock.nowMs() + SPIN_MS;
    let received = -1;
    while (received < 0 && this.#clock.nowMs() < untilMs) {
      received = recv(this.#fd, address, length, MSG_DONTWAIT);
    }
    this.#spin.leave();
    return received;
  }

  /** @hot Once a batch. */
  #wait(address: number, length: number): number {
    for (;;) {
      const received = recv(this.#fd, address, length, 0);
      if (received >= 0) {
        this.#failures.clear();
        return received;
      }
      if (this.#failures.look() !== 'again') throw new ClientGone();
    }
  }
}
