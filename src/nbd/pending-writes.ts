import { copyToMap } from '../media/process-vm.js';
import type { ExportAccess } from './export-access.js';
import { NbdCmd, NbdError } from './protocol.js';
import type { Request } from './request.js';
import type { WorkerArena } from './worker-arena.js';

/**
 * Writes whose payload came along with the requests: copied to their places by one system
 * call for all of them. Nothing is allocated for one.
 */
export class PendingWrites {
  readonly #access: ExportAccess;
  readonly #arena: WorkerArena;
  readonly #cookieHigh: Uint32Array;
  readonly #cookieLow: Uint32Array;
  readonly #offsetHigh: Uint32Array;
  readonly #offsetLow: Uint32Array;
  readonly #flags: Uint16Array;
  #count = 0;

  constructor(access: ExportAccess, arena: WorkerArena) {
    const { capacity } = arena.copyFrom;
    this.#access = access;
    this.#arena = arena;
    this.#cookieHigh = new Uint32Array(capacity);
    this.#cookieLow = new Uint32Array(capacity);
    this.#offsetHigh = new Uint32Array(capacity);
    this.#offsetLow = new Uint32Array(capacity);
    this.#flags = new Uint16Array(capacity);
    // A connection that was cut may have left some there.
    this.clear();
  }

  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#arena.copyFrom.left === 0;
  }

  /**
   * Keeps a write whose payload stands at `from`, which must stay as it is until `clear`.
   *
   * @hot Once a write.
   */
  add(request: Request, from: number): void {
    const { offset, length } = request;
    const i = this.#count++;
    this.#cookieHigh[i] = request.cookieHigh;
    this.#cookieLow[i] = request.cookieLow;
    this.#offsetHigh[i] = request.offsetHigh;
    this.#offsetLow[i] = request.offsetLow;
    this.#flags[i] = request.flags;
    this.#arena.copyFrom.push(from, length);
    this.#arena.copyTo.push(this.#access.addressOf(offset, length), length);
  }

  /** Copies all of them; false when a place turned out bad. @hot Once a batch. */
  copyAll(): boolean {
    const { copyFrom, copyTo } = this.#arena;
    return copyToMap(copyFrom, copyTo) === copyFrom.bytes;
  }

  /** Copies `length` bytes between two addresses, with nothing kept; false when the place is bad. */
  copy(from: number, to: number, length: number): boolean {
    this.clear();
    this.#arena.copyFrom.push(from, length);
    this.#arena.copyTo.push(to, length);
    const isCopied = this.copyAll();
    this.clear();
    return isCopied;
  }

  /** Copies write `i` alone; what went wrong. */
  copyOne(i: number): NbdError {
    const { copyFrom, copyTo } = this.#arena;
    const length = copyFrom.lengthOf(i);
    if (copyToMap(copyFrom.piece(i), copyTo.piece(i)) === length) return NbdError.None;
    const offset = copyTo.addressOf(i) - this.#access.addressOf(0, 0);
    return NbdError[this.#access.whyBad(offset, length)];
  }

  /** Puts write `i` into `request`. @hot Once a write. */
  recall(i: number, request: Request): void {
    request.type = NbdCmd.Write;
    request.flags = this.#flags[i] ?? 0;
    request.cookieHigh = this.#cookieHigh[i] ?? 0;
    request.cookieLow = this.#cookieLow[i] ?? 0;
    request.offsetHigh = this.#offsetHigh[i] ?? 0;
    request.offsetLow = this.#offsetLow[i] ?? 0;
    request.offset = request.offsetHigh * 2 ** 32 + request.offsetLow;
    request.length = this.#arena.copyFrom.lengthOf(i);
  }

  clear(): void {
    this.#count = 0;
    this.#arena.copyFrom.clear();
    this.#arena.copyTo.clear();
  }
}
