import { assert } from '../lib/assert.js';
import { type Arena } from '../media/arena.js';
import { IOVEC_BYTES, type IovecArray } from '../media/process-vm.js';

const WORDS = IOVEC_BYTES / 4;
const WORD_VALUES = 2 ** 32;

/** `struct msghdr` on 64-bit platforms, and where its iovec pointer and count stand. */
const MSGHDR_BYTES = 56;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;

/** How much of an arena {@link Iovecs} takes. */
export function iovecBytes(capacity: number): number {
  return MSGHDR_BYTES + 8 + capacity * IOVEC_BYTES;
}

/**
 * Pieces of memory for one system call: a `struct msghdr` and the `struct iovec` array behind
 * it, in memory that has an address. Filled again and again, never allocated.
 */
export class Iovecs {
  /** Of the msghdr, for recvmsg and sendmsg. */
  readonly messageAddress: number;
  /** Of the array, for process_vm_writev. */
  readonly arrayAddress: number;
  readonly capacity: number;
  count = 0;
  /** Bytes of all pieces. */
  bytes = 0;
  /** Pieces that {@link advance} has left behind. */
  #done = 0;
  /** Bytes that {@link advance} has taken off the first piece that is not left behind. */
  #cut = 0;
  readonly #message: DataView;
  readonly #words: Uint32Array;

  /** Takes `iovecBytes(capacity)` bytes of the arena from `at` on, a multiple of 8. */
  constructor(arena: Arena, at: number, capacity: number) {
    assert(at % 8 === 0, 'a msghdr is aligned');
    const { buffer, byteOffset } = arena.bytes;
    const arrayAt = at + MSGHDR_BYTES + 8;
    this.capacity = capacity;
    this.messageAddress = arena.address + at;
    this.arrayAddress = arena.address + arrayAt;
    this.#message = new DataView(buffer, byteOffset + at, MSGHDR_BYTES);
    this.#words = new Uint32Array(buffer, byteOffset + arrayAt, capacity * WORDS);
  }

  get left(): number {
    return this.capacity - this.count;
  }

  /** How many pieces have been left behind; the first that has not stands at this index. */
  get done(): number {
    return this.#done;
  }

  clear(): void {
    this.count = 0;
    this.bytes = 0;
    this.#done = 0;
    this.#cut = 0;
  }

  /**
   * Adds a piece of at most 4 GiB.
   *
   * @hot Once or twice a request.
   */
  push(address: number, length: number): void {
    assert(this.count < this.capacity, 'there is room for another piece');
    this.#set(this.count, address, length);
    this.count++;
    this.bytes += length;
  }

  /**
   * Makes the last piece longer.
   *
   * @hot Once a reply that follows another without data.
   */
  extendLast(length: number): void {
    const word = (this.count - 1) * WORDS + 2;
    this.#words[word] = (this.#words[word] ?? 0) + length;
    this.bytes += length;
  }

  /** Where piece `index` begins, in the address space. */
  addressOf(index: number): number {
    const word = index * WORDS;
    return (this.#words[word] ?? 0) + (this.#words[word + 1] ?? 0) * WORD_VALUES;
  }

  /** Piece `index` alone, for process_vm_writev and process_vm_readv. */
  piece(index: number): IovecArray {
    return { arrayAddress: this.arrayAddress + index * IOVEC_BYTES, count: 1 };
  }

  lengthOf(index: number): number {
    return this.#words[index * WORDS + 2] ?? 0;
  }

  /** How long piece `index`, which is not left behind, was before a call dealt with part of it. */
  wholeLengthOf(index: number): number {
    return this.lengthOf(index) + (index === this.#done ? this.#cut : 0);
  }

  /**
   * Points the msghdr at what has not been left behind.
   *
   * @hot Before each call.
   */
  arm(): number {
    const address = this.arrayAddress + this.#done * IOVEC_BYTES;
    this.#message.setUint32(MSG_IOV, address >>> 0, true);
    this.#message.setUint32(MSG_IOV + 4, Math.floor(address / WORD_VALUES), true);
    this.#message.setUint32(MSG_IOVLEN, this.count - this.#done, true);
    return this.messageAddress;
  }

  /**
   * Leaves `bytes` bytes behind, which a call has dealt with.
   *
   * @hot After each call that did not do all.
   */
  advance(bytes: number): void {
    assert(bytes <= this.bytes, 'a call does no more than it was asked');
    this.bytes -= bytes;
    let rest = bytes;
    while (rest > 0) {
      const length = this.lengthOf(this.#done);
      if (rest < length) {
        this.#set(this.#done, this.addressOf(this.#done) + rest, length - rest);
        this.#cut += rest;
        return;
      }
      rest -= length;
      this.#done++;
      this.#cut = 0;
    }
  }

  #set(index: number, address: number, length: number): void {
    const word = index * WORDS;
    this.#words[word] = address >>> 0;
    this.#words[word + 1] = Math.floor(address / WORD_VALUES);
    this.#words[word + 2] = length;
    this.#words[word + 3] = 0;
  }
}
