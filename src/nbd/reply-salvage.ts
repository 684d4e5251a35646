import { assert } from '../lib/assert.js';
import { type Arena } from '../media/arena.js';
import { copyFromMap } from '../media/process-vm.js';
import { ClientGone } from './connection-end.js';
import { Iovecs, iovecBytes } from './iovecs.js';
import { NbdError, type ReplyStyle } from './protocol.js';
import { ReplyBatch } from './reply-batch.js';
import { Request } from './request.js';
import { CallFailures, sendAll } from './socket-calls.js';

/** Pieces of one call: headers of one run, its data. */
const PIECES = 4;
const HEADS_BYTES = 256;
const SCRATCH_AT = 1024;
/** How much of the arena a salvage needs, a probe's copy included. */
export const SALVAGE_BYTES = SCRATCH_AT + 64 * 1024;

/**
 * Sends what is left of a batch after a system call found some of its data unreadable: a file
 * that shrank, a disk that failed. Replies whose data is good go out as they are; the others
 * become EIO. Slow, and allocated for the occasion.
 */
export class ReplySalvage {
  readonly #fd: number;
  readonly #arena: Arena;
  readonly #batch: ReplyBatch;
  /** What is sent in place of a reply. */
  readonly #repair: ReplyBatch;
  readonly #pieces: Iovecs;
  readonly #probe: Iovecs;
  readonly #request = new Request('simple');
  readonly #failures = new CallFailures();
  #failedReads = 0;
  #failedBytes = 0;
  /** Bytes of an ending chunk, at the start of the next piece, that are not to be sent. */
  #skip = 0;

  constructor(fd: number, arena: Arena, batch: ReplyBatch, style: ReplyStyle) {
    assert(arena.bytes.length >= SALVAGE_BYTES, 'a salvage has room to work in');
    this.#fd = fd;
    this.#arena = arena;
    this.#batch = batch;
    const heads = {
      address: arena.address + HEADS_BYTES * 3,
      bytes: arena.bytes.subarray(HEADS_BYTES * 3, SCRATCH_AT),
    };
    this.#pieces = new Iovecs(arena, 0, PIECES);
    this.#probe = new Iovecs(arena, HEADS_BYTES, 2);
    const repairs = new Iovecs(arena, HEADS_BYTES * 2, PIECES);
    // It holds no data, which alone could be cut.
    this.#repair = new ReplyBatch(heads, repairs, style, false);
    assert(iovecBytes(PIECES) <= HEADS_BYTES, 'the parts of the arena do not overlap');
  }

  /** Reads whose data is bad, whatever became of their replies. */
  get failedReads(): number {
    return this.#failedReads;
  }

  /** How many bytes they asked for. */
  get failedBytes(): number {
    return this.#failedBytes;
  }

  /** @throws ClientGone when a reply was begun that nothing can follow: a simple one. */
  run(): void {
    const { iovecs } = this.#batch;
    const first = iovecs.done;
    for (let i = first; i < iovecs.count; i++) {
      const address = iovecs.addressOf(i);
      const length = iovecs.lengthOf(i);
      const isData = this.#batch.isData(i);
      if (isData) this.#sendData(i, address, length);
      else if (!this.#sendHeads(i, address + this.#skip, length - this.#skip)) i++;
    }
  }

  /** Data whose header has gone out. */
  #sendData(index: number, address: number, length: number): void {
    if (this.#isReadable(address, length)) {
      this.#send(address, length);
      return;
    }
    this.#fail(index);
    this.#sendBad(index, length);
  }

  /** The last `length` bytes of data that are bad, behind a header that says that they come. */
  #sendBad(index: number, length: number): void {
    // The rest of the chunk must be sent, whatever it is, before another can say that it is bad.
    if (!this.#batch.endsWithChunk(index)) throw new ClientGone();
    this.#sendZeros(length);
    this.#repair.errorOffset(this.#request, NbdError.EIO);
    this.#sendRepair();
    this.#skip = this.#batch.headBytes;
  }

  /** Headers; false when the data behind them was answered for, and is to be left out. */
  #sendHeads(index: number, address: number, length: number): boolean {
    this.#skip = 0;
    const { iovecs } = this.#batch;
    const data = index + 1;
    const isData = this.#batch.isData(data);
    if (!isData || this.#isReadable(iovecs.addressOf(data), iovecs.lengthOf(data))) {
      this.#send(address, length);
      return true;
    }
    this.#fail(data);
    const headLength = this.#batch.dataHeadBytes;
    if (length < headLength) {
      // A header that was begun can only be followed by its data.
      this.#send(address, length);
      this.#sendBad(data, iovecs.lengthOf(data));
      return false;
    }
    this.#send(address, length - headLength);
    this.#repair.error(this.#request, NbdError.EIO);
    this.#sendRepair();
    if (this.#batch.endsWithChunk(data)) this.#skip = this.#batch.headBytes;
    return false;
  }

  /** Takes note that a read failed, and what a reply to it must repeat. */
  #fail(data: number): void {
    this.#failedReads++;
    this.#failedBytes += this.#batch.iovecs.wholeLengthOf(data);
    this.#batch.recall(this.#batch.headOf(data), this.#request);
  }

  #isReadable(address: number, length: number): boolean {
    const scratch = this.#arena.address + SCRATCH_AT;
    const room = SALVAGE_BYTES - SCRATCH_AT;
    for (let done = 0; done < length;) {
      const run = Math.min(room, length - done);
      this.#probe.clear();
      this.#probe.push(scratch, run);
      this.#probe.push(address + done, run);
      if (copyFromMap(this.#probe.piece(1), this.#probe.piece(0)) !== run) return false;
      done += run;
    }
    return true;
  }

  #sendZeros(length: number): void {
    const room = SALVAGE_BYTES - SCRATCH_AT;
    this.#arena.bytes.fill(0, SCRATCH_AT, SALVAGE_BYTES);
    for (let left = length; left > 0; left -= Math.min(room, left)) {
      this.#send(this.#arena.address + SCRATCH_AT, Math.min(room, left));
    }
  }

  #sendRepair(): void {
    sendAll(this.#fd, this.#repair.iovecs, this.#failures);
    this.#repair.clear();
  }

  #send(address: number, length: number): void {
    if (length === 0) return;
    this.#pieces.clear();
    this.#pieces.push(address, length);
    sendAll(this.#fd, this.#pieces, this.#failures);
  }
}
