import { type Clock, systemClock } from '../lib/clock.js';
import { copyFromMap } from '../media/process-vm.js';
import { statusChunks } from './block-status.js';
import { persistWrite, runCommand } from './commands.js';
import { ClientGone, ProtocolBreach } from './connection-end.js';
import { nbdErrorOf } from './nbd-errno.js';
import { commandOf } from './nbd-counters.js';
import { PendingWrites } from './pending-writes.js';
import { NbdCmd, NbdError } from './protocol.js';
import { ReplyBatch } from './reply-batch.js';
import { NO_REQUEST, Request } from './request.js';
import { payloadBreach, refusalOf, type RequestRules, rulesOf } from './request-checks.js';
import type { TlsTransport } from './tls-transport.js';
import type { TransmissionParts } from './transmission.js';

const NOTHING = Buffer.alloc(0);

/** What a connection under TLS is served with. */
export interface TlsTransmissionParts extends Omit<TransmissionParts, 'fd' | 'pipe' | 'spin'> {
  readonly transport: TlsTransport;
}

/**
 * The transmission phase under TLS: one request after the other, its payload copied once more
 * than on a plain connection, piece by piece. What a request means is the same code.
 */
export class TlsTransmission {
  readonly #parts: TlsTransmissionParts;
  readonly #rules: RequestRules;
  readonly #clock: Clock;
  readonly #request: Request;
  readonly #replies: ReplyBatch;
  readonly #writes: PendingWrites;
  readonly #view: DataView;
  /** Bytes of data that are copied and sent at a time. */
  readonly #pieceBytes: number;

  constructor(parts: TlsTransmissionParts) {
    const { session, access, arena } = parts;
    this.#parts = parts;
    this.#rules = rulesOf(session);
    this.#clock = parts.clock ?? systemClock;
    this.#request = new Request(session.style);
    // What fits into one page is copied before its header is sent.
    this.#replies = new ReplyBatch(arena.heads, arena.replies, session.style, true);
    this.#writes = new PendingWrites(access, arena);
    const { buffer, byteOffset, length } = arena.receive.bytes;
    this.#view = new DataView(buffer, byteOffset, length);
    this.#pieceBytes = Math.min(parts.inFlightBytes, length);
  }

  /**
   * Serves until the client leaves.
   *
   * @throws ClientGone, ProtocolBreach
   */
  async run(): Promise<void> {
    const { transport, arena, counters } = this.#parts;
    for (;;) {
      const header = await transport.read(this.#request.headerBytes);
      header.copy(arena.receive.bytes);
      if (!this.#request.decode(this.#view, 0)) {
        throw new ProtocolBreach(NO_REQUEST);
      }
      if (this.#request.type === NbdCmd.Disc) return;
      const startMs = this.#clock.nowMs();
      const error = await this.#serve();
      counters.countRequest(this.#request.type, error);
      const seconds = (this.#clock.nowMs() - startMs) / 1000;
      counters.durations[commandOf(this.#request.type)]?.observe(seconds);
    }
  }

  async #serve(): Promise<NbdError> {
    const { uses } = this.#parts;
    const error = refusalOf(this.#request, this.#rules);
    if (error !== NbdError.None) return this.#refuse(error);
    if (!uses.tryGet()) return this.#refuse(NbdError.ESHUTDOWN);
    try {
      return await this.#perform();
    } finally {
      uses.put(1);
    }
  }

  async #perform(): Promise<NbdError> {
    const { access, counters } = this.#parts;
    switch (this.#request.type) {
      case NbdCmd.Read:
        return this.#read();
      case NbdCmd.Write:
        return this.#write();
      case NbdCmd.BlockStatus:
        return this.#blockStatus();
      default:
        return this.#reply(runCommand(this.#request, access, counters));
    }
  }

  async #refuse(error: NbdError): Promise<NbdError> {
    const breach = payloadBreach(this.#request);
    if (breach !== undefined) throw new ProtocolBreach(breach);
    await this.#inPieces(this.#request.payloadBytes, () => true);
    return this.#reply(error);
  }

  async #read(): Promise<NbdError> {
    const { access, counters } = this.#parts;
    const { offset, length } = this.#request;
    const address = access.addressOf(offset, length);
    const first = this.#copyOut(address, Math.min(length, this.#pieceBytes));
    if (first === undefined) return this.#reply(NbdError.EIO);
    this.#replies.data(this.#request, address, length);
    const [head = NOTHING, , end = NOTHING] = this.#takeReplies();
    if (first.length === length) {
      counters.countRead(length);
      await this.#parts.transport.write(Buffer.concat([head, first, end]));
      return NbdError.None;
    }
    await this.#parts.transport.write(Buffer.concat([head, first]));
    return this.#readOn(address, first.length, end);
  }

  /**
   * Sends the data of a read from byte `from` on, each piece when the client has taken those
   * before; where one turns out bad, zeros in its place and then what went wrong.
   *
   * @param end the chunk that ends the reply of a good read.
   * @throws ClientGone where nothing can follow the data: in a simple reply.
   */
  async #readOn(address: number, from: number, end: Buffer): Promise<NbdError> {
    const { transport, session, counters } = this.#parts;
    const { length } = this.#request;
    let isGood = true;
    for (let done = from; done < length; done += this.#pieceBytes) {
      const run = Math.min(this.#pieceBytes, length - done);
      const piece: Buffer | undefined = isGood ? this.#copyOut(address + done, run) : undefined;
      if (piece === undefined && session.style === 'simple') throw new ClientGone();
      isGood = piece !== undefined;
      await transport.write(piece ?? Buffer.alloc(run));
    }
    if (isGood) {
      counters.countRead(length);
      await transport.write(end);
      return NbdError.None;
    }
    this.#replies.errorOffset(this.#request, NbdError.EIO);
    await this.#send();
    return NbdError.EIO;
  }

  async #write(): Promise<NbdError> {
    const { access, arena, counters } = this.#parts;
    const { offset, length } = this.#request;
    const address = access.addressOf(offset, length);
    const isStored = await this.#inPieces(length, (done, run) =>
      this.#writes.copy(arena.receive.address, address + done, run),
    );
    if (!isStored) return this.#reply(NbdError[access.whyBad(offset, length)]);
    const error = persistWrite(this.#request, access);
    if (error === NbdError.None) counters.countWritten(length);
    return this.#reply(error);
  }

  async #blockStatus(): Promise<NbdError> {
    const { access, session } = this.#parts;
    try {
      for (const chunk of statusChunks(this.#request, access, session)) {
        this.#replies.status(this.#request, chunk);
        await this.#send();
      }
      return NbdError.None;
    } catch (failure) {
      return this.#reply(nbdErrorOf(failure));
    }
  }

  /**
   * Reads a payload into the arena, piece by piece; after a piece that `take` refuses the rest
   * goes nowhere.
   */
  async #inPieces(length: number, take: (done: number, run: number) => boolean): Promise<boolean> {
    const { transport, arena } = this.#parts;
    let isGood = true;
    for (let done = 0; done < length;) {
      const piece = await transport.read(Math.min(arena.receive.bytes.length, length - done));
      piece.copy(arena.receive.bytes);
      isGood &&= take(done, piece.length);
      done += piece.length;
    }
    return isGood;
  }

  /** A piece of the bytes at an address of the map; undefined when they cannot be read. */
  #copyOut(address: number, length: number): Buffer | undefined {
    const { copyFrom, receive } = this.#parts.arena;
    copyFrom.clear();
    copyFrom.push(address, length);
    copyFrom.push(receive.address, length);
    const copied = copyFromMap(copyFrom.piece(0), copyFrom.piece(1));
    copyFrom.clear();
    return copied === length ? Buffer.from(receive.bytes.subarray(0, length)) : undefined;
  }

  async #reply(error: NbdError): Promise<NbdError> {
    if (error === NbdError.None) this.#replies.done(this.#request);
    else this.#replies.error(this.#request, error);
    await this.#send();
    return error;
  }

  /** Sends what the batch holds, which names no data. */
  async #send(): Promise<void> {
    await this.#parts.transport.write(Buffer.concat(this.#takeReplies()));
  }

  /** Empties the batch: its pieces, empty in place of data. */
  #takeReplies(): Buffer[] {
    const { heads } = this.#parts.arena;
    const { iovecs } = this.#replies;
    const pieces = Array.from({ length: iovecs.count }, (_, i) => {
      if (this.#replies.isData(i)) return NOTHING;
      const at = iovecs.addressOf(i) - heads.address;
      return Buffer.from(heads.bytes.subarray(at, at + iovecs.lengthOf(i)));
    });
    this.#replies.clear();
    return pieces;
  }
}
