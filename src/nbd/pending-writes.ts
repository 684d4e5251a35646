import { assert } from '../lib/assert.js';
import { copyToMap } from '../media/process-vm.js';
import type { ExportAccess } from './export-access.js';
import { NbdError } from './protocol.js';
import type { Request } from './request.js';
import type { WorkerArena } from './worker-arena.js';

/**
 * Writes whose payload came along with the requests: copied to their places by one system
 * call for all of them. Nothing is allocated for one.
 */
export class PendingWrites {
  readonly #access: ExportAccess;
  readonly #arena: WorkerArena;
  readonly #received: DataView;

  constructor(access: ExportAccess, arena: WorkerArena) {
    this.#access = access;
    this.#arena = arena;
    const { buffer, byteOffset, length } = arena.receive.bytes;
    this.#received = new DataView(buffer, byteOffset, length);
    // A connection that was cut may have left some there.
    this.clear();
  }

  get count(): number {
    return this.#arena.copyFrom.count;
  }

  get isFull(): boolean {
    return this.#arena.copyFrom.left === 0;
  }

  /**
   * Keeps a write whose payload stands at `from`, behind its header: both must stay as they are
   * until `clear`.
   *
   * @hot Once a write.
   */
  add({ offset, length }: Request, from: number): void {
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

  /** Takes the header of write `i` into `request` again. @hot Once a write. */
  recall(i: number, request: Request): void {
    const { copyFrom, receive } = this.#arena;
    const at = copyFrom.addressOf(i) - receive.address - request.headerBytes;
    const isHeader = request.decode(this.#received, at);
    assert(isHeader, 'a header stands before its payload');
  }

  clear(): void {
    this.#arena.copyFrom.clear();
    this.#arena.copyTo.clear();
  }
}
