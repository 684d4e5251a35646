import { type Clock, systemClock } from '../lib/clock.js';
import { copyFromMap } from '../media/process-vm.js';
import { statusChunks } from './block-status.js';
import { persistWrite, runCommand } from './commands.js';
import { ProtocolBreach } from './connection-end.js';
import { nbdErrorOf } from './nbd-errno.js';
import { commandOf } from './nbd-counters.js';
import { PendingWrites } from './pending-writes.js';
import { NbdCmd, NbdError } from './protocol.js';
import { ReplyBatch } from './reply-batch.js';
import { NO_REQUEST, Request } from './request.js';
import { payloadBreach, refusalOf, type RequestRules, rulesOf } from './request-checks.js';
import type { TlsTransport } from './tls-transport.js';
import type { TransmissionParts } from './transmission.js';

/** What a connection under TLS is served with. */
export interface TlsTransmissionParts extends Omit<
  TransmissionParts,
  'fd' | 'spin' | 'inFlightBytes'
> {
  readonly transport: TlsTransport;
}

/**
 * The transmission phase under TLS: one request after the other, its payload copied once more
 * than on a plain connection. What a request means is the same code.
 */
export class TlsTransmission {
  readonly #parts: TlsTransmissionParts;
  readonly #rules: RequestRules;
  readonly #clock: Clock;
  readonly #request: Request;
  readonly #replies: ReplyBatch;
  readonly #writes: PendingWrites;
  readonly #view: DataView;

  constructor(parts: TlsTransmissionParts) {
    const { session, access, arena } = parts;
    this.#parts = parts;
    this.#rules = rulesOf(session);
    this.#clock = parts.clock ?? systemClock;
    this.#request = new Request(session.style);
    this.#replies = new ReplyBatch(arena.heads, arena.replies, session.style);
    this.#writes = new PendingWrites(access, arena);
    const { buffer, byteOffset, length } = arena.receive.bytes;
    this.#view = new DataView(buffer, byteOffset, length);
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
    const data = this.#copyOut(access.addressOf(offset, length), length);
    if (data === undefined) return this.#reply(NbdError.EIO);
    this.#replies.data(this.#request, access.addressOf(offset, length), length);
    counters.countRead(length);
    await this.#send(data);
    return NbdError.None;
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

  /** The bytes at an address of the map; undefined when they cannot be read. */
  #copyOut(address: number, length: number): Buffer | undefined {
    const { copyFrom, receive } = this.#parts.arena;
    const whole = Buffer.allocUnsafe(length);
    for (let done = 0; done < length;) {
      const run = Math.min(receive.bytes.length, length - done);
      copyFrom.clear();
      copyFrom.push(address + done, run);
      copyFrom.push(receive.address, run);
      if (copyFromMap(copyFrom.piece(0), copyFrom.piece(1)) !== run) return undefined;
      receive.bytes.copy(whole, done, 0, run);
      done += run;
    }
    copyFrom.clear();
    return whole;
  }

  async #reply(error: NbdError): Promise<NbdError> {
    if (error === NbdError.None) this.#replies.done(this.#request);
    else this.#replies.error(this.#request, error);
    await this.#send();
    return error;
  }

  /** Sends what the batch holds, `data` in place of the piece that names the map. */
  async #send(data?: Buffer): Promise<void> {
    const { transport, arena } = this.#parts;
    const { iovecs } = this.#replies;
    const pieces: Buffer[] = [];
    for (let i = 0; i < iovecs.count; i++) {
      const at = iovecs.addressOf(i) - arena.heads.address;
      const isData = this.#replies.headOf(i) >= 0;
      if (!isData)
        pieces.push(Buffer.from(arena.heads.bytes.subarray(at, at + iovecs.lengthOf(i))));
      else if (data !== undefined) pieces.push(data);
    }
    this.#replies.clear();
    await transport.write(Buffer.concat(pieces));
  }
}
