import { type Clock, systemClock } from '../lib/clock.js';
import type { SharedUses } from '../lib/shared-uses.js';
import { KIB } from '../lib/units.js';
import { BatchTimes } from './batch-times.js';
import { STATUS_PAYLOAD_BYTES_MAX, statusChunks } from './block-status.js';
import { persistWrite, runCommand } from './commands.js';
import { ClientGone, ProtocolBreach } from './connection-end.js';
import type { ExportAccess } from './export-access.js';
import { BAD_PLACE, Incoming, NOTHING_YET } from './incoming.js';
import { nbdErrorOf } from './nbd-errno.js';
import type { NbdCounters } from './nbd-counters.js';
import type { Session } from './negotiation.js';
import type { PagePipe } from './page-pipe.js';
import { PendingWrites } from './pending-writes.js';
import { NbdCmd, NbdError } from './protocol.js';
import { ReplyBatch, WRITE_REPLY_BYTES_MAX } from './reply-batch.js';
import { ReplySalvage } from './reply-salvage.js';
import { NO_REQUEST, Request } from './request.js';
import { mayPart, payloadBreach, refusalOf, type RequestRules, rulesOf } from './request-checks.js';
import { CallFailures, isUnixSocket, MSG_MORE, MSG_NOSIGNAL, sendmsg } from './socket-calls.js';
import type { SpinGate } from './spin-gate.js';
import type { WorkerArena } from './worker-arena.js';

/** What a connection is served with. */
export interface TransmissionParts {
  /** A socket whose calls wait. */
  readonly fd: number;
  readonly session: Session;
  readonly access: ExportAccess;
  readonly arena: WorkerArena;
  /** What data of large reads goes through. */
  readonly pipe: PagePipe;
  /** Requests under way; once it is dying, new ones get ESHUTDOWN. */
  readonly uses: SharedUses;
  readonly counters: NbdCounters;
  readonly spin: SpinGate;
  /** Bytes of replies after which a batch is sent. */
  readonly inFlightBytes: number;
  readonly clock?: Clock;
}

/**
 * Data from here on goes to the socket by reference. For less, the calls that this takes cost more
 * than the copy.
 */
const SPLICE_BYTES_MIN = 64 * KIB;

/**
 * The transmission phase of one connection, on a thread of its own: requests are taken as
 * they come, and answered in batches, one sendmsg each. Payloads go between the socket and
 * the map by system calls alone: no copy in user space, and a bad page is an errno. Nothing
 * is allocated for a read or a write.
 *
 * It never waits for the client with replies unsent.
 */
export class Transmission {
  readonly #fd: number;
  readonly #session: Session;
  readonly #access: ExportAccess;
  readonly #arena: WorkerArena;
  readonly #pipe: PagePipe;
  readonly #spliceBytesMin: number;
  readonly #uses: SharedUses;
  readonly #counters: NbdCounters;
  readonly #rules: RequestRules;
  readonly #inFlightBytes: number;
  readonly #request: Request;
  readonly #incoming: Incoming;
  readonly #replies: ReplyBatch;
  readonly #writes: PendingWrites;
  /** What a write that was kept is put into when it ends. */
  readonly #kept: Request;
  /** Uses of requests of the batch that were done. */
  #held = 0;
  /** Whether the request in hand has a use. */
  #inHand = false;
  readonly #times: BatchTimes;
  readonly #failures = new CallFailures();

  constructor(parts: TransmissionParts) {
    const { fd, session, access, arena, spin } = parts;
    this.#fd = fd;
    this.#session = session;
    this.#access = access;
    this.#arena = arena;
    this.#pipe = parts.pipe;
    // What holds a page of a device would hold up whoever unbinds it.
    this.#spliceBytesMin = access.raw.memory.kind === 'file' ? SPLICE_BYTES_MIN : Infinity;
    this.#uses = parts.uses;
    this.#counters = parts.counters;
    const clock = parts.clock ?? systemClock;
    this.#times = new BatchTimes(parts.counters, clock);
    this.#inFlightBytes = parts.inFlightBytes;
    this.#rules = rulesOf(session);
    this.#request = new Request(session.style);
    this.#kept = new Request(session.style);
    const { headerBytes } = this.#request;
    this.#incoming = new Incoming({ fd, arena, spin, clock, headerBytes });
    this.#replies = new ReplyBatch(arena.heads, arena.replies, session.style, isUnixSocket(fd));
    this.#writes = new PendingWrites(access, arena);
  }

  /**
   * Serves until the client leaves.
   *
   * @throws ClientGone when it left within a request, ProtocolBreach when it had to be left.
   */
  run(): void {
    try {
      while (this.#incoming.receive()) if (this.#serveBatch()) return;
    } finally {
      if (this.#inHand) this.#uses.put(1);
      this.#release();
      // What was counted, and has no answer since its client left.
      this.#times.observe();
      this.#pipe.drop();
    }
  }

  /** Serves what was received; whether the client took its leave. @hot Once a batch. */
  #serveBatch(): boolean {
    this.#times.start(this.#incoming.receivedMs);
    while (this.#incoming.bytes >= this.#request.headerBytes) {
      if (!this.#request.decode(this.#incoming.view, this.#incoming.at)) {
        this.#breach(NO_REQUEST);
      }
      this.#incoming.take(this.#request.headerBytes);
      if (this.#request.type === NbdCmd.Disc) {
        this.#send();
        return true;
      }
      this.#serve();
      if (this.#replies.bytes >= this.#inFlightBytes || this.#lacksRoom()) this.#send();
    }
    this.#send();
    return false;
  }

  /** Ends the connection, but not before what was done is answered. */
  #breach(why: string): never {
    this.#send();
    throw new ProtocolBreach(why);
  }

  /** @hot Once a request. */
  #lacksRoom(): boolean {
    // What was kept is answered in the same batch, however much has come in between.
    const kept = this.#writes.count * WRITE_REPLY_BYTES_MAX;
    return this.#replies.lacksRoom(STATUS_PAYLOAD_BYTES_MAX + kept) || this.#writes.isFull;
  }

  /** @hot Once a request. */
  #serve(): void {
    const { type } = this.#request;
    const error = refusalOf(this.#request, this.#rules);
    if (error !== NbdError.None) {
      this.#refuse(error);
      return;
    }
    if (!this.#uses.tryGet()) {
      this.#refuse(NbdError.ESHUTDOWN);
      return;
    }
    this.#inHand = true;
    if (type === NbdCmd.Read) this.#read();
    else if (type === NbdCmd.Write) this.#write();
    else this.#command();
    this.#inHand = false;
    this.#held++;
  }

  /** @hot Once a read. */
  #read(): void {
    const { offset, length } = this.#request;
    const address = this.#access.addressOf(offset, length);
    this.#incoming.expectHeaders();
    if (length >= this.#spliceBytesMin && this.#splice(address)) return;
    if (this.#replies.isWholeAlone(address, length)) this.#send();
    this.#replies.data(this.#request, address, length);
    this.#counters.countRead(length);
    this.#times.count(this.#request, NbdError.None);
  }

  /**
   * Answers a read with the mapped pages themselves, each MiB a chunk of its own. What is in the
   * pipe is readable, so that a header says no more than what can be sent.
   *
   * @returns false, with nothing sent, where its data has to go another way.
   * @hot Once a large read.
   */
  #splice(address: number): boolean {
    const request = this.#request;
    const { length } = request;
    const here = this.#pipe.fill(address, length);
    const isParted = here < length;
    if (here === 0 || (isParted && !mayPart(request, this.#session.style))) {
      this.#pipe.close();
      return false;
    }
    // Their replies come before the header, behind which nothing but its data may come.
    this.#endWrites();
    let done = length;
    try {
      done = this.#passOn(address, here);
    } finally {
      // Where its client leaves within it, it counts as a copied one does: as good.
      const error = done < length ? NbdError.EIO : NbdError.None;
      if (error === NbdError.None) this.#counters.countRead(length);
      else this.#replies.errorOffset(request, error);
      this.#times.count(request, error);
    }
    return true;
  }

  /**
   * Sends what the pipe holds, `here` bytes, and all that follows it of the read.
   *
   * @returns how many bytes were readable.
   * @hot Once a large read.
   */
  #passOn(address: number, here: number): number {
    const { length } = this.#request;
    let done = 0;
    for (let run = here; run > 0;) {
      this.#replies.dataHead(this.#request, done, run, done + run === length);
      this.#send(MSG_NOSIGNAL | MSG_MORE);
      this.#pipe.drainTo(this.#fd);
      done += run;
      run = done < length ? this.#pipe.fill(address + done, length - done) : 0;
    }
    return done;
  }

  /** @hot Once a write. */
  #write(): void {
    const { length } = this.#request;
    const here = Math.min(length, this.#incoming.bytes);
    if (here === length) {
      this.#writes.add(this.#request, this.#incoming.address);
      this.#incoming.take(length);
      return;
    }
    const error = this.#receivePayload(here);
    this.#incoming.expectPayload();
    this.#endWrite(this.#request, error);
  }

  /** Brings a payload to its place of which the first `here` bytes have come. @hot Once a write. */
  #receivePayload(here: number): NbdError {
    const { offset, length } = this.#request;
    const address = this.#access.addressOf(offset, length);
    // What has come lies where the next header will.
    this.#endWrites();
    if (here > 0 && !this.#writes.copy(this.#incoming.address, address, here)) {
      return this.#badPlace(length);
    }
    this.#incoming.take(here);
    for (let done = here; done < length;) {
      let received = this.#incoming.receiveInto(address + done, length - done, 'look');
      if (received === NOTHING_YET) {
        this.#send();
        received = this.#incoming.receiveInto(address + done, length - done, 'wait');
      }
      if (received === BAD_PLACE) return this.#badPlace(length - done);
      done += received;
    }
    return NbdError.None;
  }

  /** The map cannot be stored to: what is left of the payload, `length` bytes, goes nowhere. */
  #badPlace(length: number): NbdError {
    this.#drain(length);
    return NbdError[this.#access.whyBad(this.#request.offset, this.#request.length)];
  }

  /** Ends the writes whose payload came along with the requests. @hot Once a batch. */
  #endWrites(): void {
    if (this.#writes.count === 0) return;
    const areAllCopied = this.#writes.copyAll();
    for (let i = 0; i < this.#writes.count; i++) {
      this.#writes.recall(i, this.#kept);
      this.#endWrite(this.#kept, areAllCopied ? NbdError.None : this.#writes.copyOne(i));
    }
    this.#writes.clear();
  }

  /** Answers a write whose payload is in its place, unless that failed. @hot Once a write. */
  #endWrite(request: Request, failure: NbdError): void {
    const error = failure === NbdError.None ? persistWrite(request, this.#access) : failure;
    if (error === NbdError.None) {
      this.#replies.done(request);
      this.#counters.countWritten(request.length);
    } else this.#replies.error(request, error);
    this.#times.count(request, error);
  }

  #refuse(error: NbdError): void {
    const breach = payloadBreach(this.#request);
    if (breach !== undefined) this.#breach(breach);
    this.#drain(this.#request.payloadBytes);
    this.#replies.error(this.#request, error);
    this.#times.count(this.#request, error);
  }

  /** Takes a payload off the wire that goes nowhere. */
  #drain(length: number): void {
    let left = length - this.#incoming.takeUpTo(length);
    if (left === 0) return;
    this.#send();
    while (left > 0) left -= this.#incoming.drain(left);
  }

  /** What takes its time: nobody waits for it who has an answer already. */
  #command(): void {
    this.#send();
    const request = this.#request;
    const error =
      request.type === NbdCmd.BlockStatus
        ? this.#blockStatus()
        : runCommand(request, this.#access, this.#counters);
    if (error !== NbdError.None) this.#replies.error(request, error);
    else if (request.type !== NbdCmd.BlockStatus) this.#replies.done(request);
    this.#times.count(request, error);
  }

  #blockStatus(): NbdError {
    try {
      for (const chunk of statusChunks(this.#request, this.#access, this.#session)) {
        if (this.#replies.lacksRoom(chunk.payload.length)) this.#send();
        this.#replies.status(this.#request, chunk);
      }
      return NbdError.None;
    } catch (failure) {
      return nbdErrorOf(failure);
    }
  }

  /** Ends pending writes, and sends all replies. @hot Once a batch. */
  #send(flags = MSG_NOSIGNAL): void {
    this.#endWrites();
    const { iovecs } = this.#replies;
    while (iovecs.bytes > 0) {
      const sent = sendmsg(this.#fd, iovecs.arm(), flags);
      if (sent < 0 && this.#sendFailed()) break;
      if (sent >= 0) iovecs.advance(sent);
    }
    this.#failures.clear();
    this.#replies.clear();
    this.#release();
    this.#times.observe();
  }

  /** Looks at why nothing could be sent; true when the rest was sent in another way. */
  #sendFailed(): boolean {
    const failure = this.#failures.look();
    if (failure === 'again') return false;
    if (failure === 'gone') throw new ClientGone();
    this.#salvage();
    return true;
  }

  /** Sends the rest of the batch, some of whose data is bad. */
  #salvage(): void {
    const { salvage: arena } = this.#arena;
    const salvage = new ReplySalvage(this.#fd, arena, this.#replies, this.#session.style);
    try {
      salvage.run();
    } finally {
      // They were counted when they were put into the batch.
      this.#counters.recountReads(salvage.failedReads, salvage.failedBytes);
    }
  }

  #release(): void {
    if (this.#held === 0) return;
    this.#uses.put(this.#held);
    this.#held = 0;
  }
}
