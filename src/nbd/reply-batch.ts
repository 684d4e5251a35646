import { PAGE_SIZE } from '../lib/units.js';
import { assert } from '../lib/assert.js';
import type { Arena } from '../media/arena.js';
import type { Iovecs } from './iovecs.js';
import {
  EXTENDED_REPLY_BYTES,
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_REPLY_FLAG_DONE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
  NbdCmd,
  type NbdError,
  NbdReplyType,
  type ReplyStyle,
  SIMPLE_REPLY_BYTES,
  STRUCTURED_REPLY_BYTES,
} from './protocol.js';
import type { Request } from './request.js';

/** Bytes in front of the data of a chunk of data: its offset. */
const OFFSET_BYTES = 8;
/** Error number and the length of a message that is left out. */
const ERROR_BYTES = 6;
/** The largest header, with what stands between it and the data. */
const REPLY_HEAD_BYTES_MAX = EXTENDED_REPLY_BYTES + OFFSET_BYTES;
/** The largest reply to a write: that it failed. */
export const WRITE_REPLY_BYTES_MAX = EXTENDED_REPLY_BYTES + ERROR_BYTES;

/**
 * What sendmsg copies first into a Unix socket, or nothing of it: data of one page in there that
 * turns out to be unreadable can still be answered with an error, so that a chunk of it may be the
 * last of its reply. What comes behind may be cut anywhere, in the middle of a chunk too; and over
 * TCP so may everything: there a piece ends where the socket's page does, which may be right behind
 * the header of bad data (tcp_sendmsg). Where it may be cut, an empty chunk ends a reply, or one
 * that says what went wrong. A Unix socket takes 36 KiB (unix_stream_sendmsg).
 */
const WHOLE_BYTES_MAX = 32 * 1024;

/** The second word of a chunk's header: its flags above its type. */
const DONE = NBD_REPLY_FLAG_DONE * 2 ** 16;

/** One chunk of the reply to a BLOCK_STATUS. */
export interface StatusChunk {
  readonly type: number;
  readonly payload: Buffer;
  /** Whether it ends the reply. */
  readonly isLast: boolean;
}

/**
 * Replies gathered for one sendmsg: headers stand in an arena, data is named where it is
 * mapped. Nothing is allocated for a reply.
 *
 * A piece of data follows the piece that ends with its header; headers that follow each other
 * share a piece.
 */
export class ReplyBatch {
  readonly iovecs: Iovecs;
  /** Bytes of the header of a reply without data. */
  readonly headBytes: number;
  readonly #style: ReplyStyle;
  readonly #startIsWhole: boolean;
  readonly #view: DataView;
  readonly #address: number;
  /** Bytes of the arena that headers have taken. */
  #used = 0;
  /** Whether the last piece is headers, which the next header can join. */
  #lastIsHead = false;

  /**
   * @param startIsWhole whether the first {@link WHOLE_BYTES_MAX} are taken at once or not at all:
   *   by a Unix socket, or where data was read before its header is sent.
   */
  constructor(arena: Arena, iovecs: Iovecs, style: ReplyStyle, startIsWhole: boolean) {
    this.iovecs = iovecs;
    this.headBytes = HEAD_BYTES[style];
    this.#style = style;
    this.#startIsWhole = startIsWhole;
    this.#address = arena.address;
    const { buffer, byteOffset, length } = arena.bytes;
    this.#view = new DataView(buffer, byteOffset, length);
    // A connection that was cut may have left replies there.
    iovecs.clear();
  }

  get bytes(): number {
    return this.iovecs.bytes;
  }

  /** Whether a reply with `payload` bytes of its own, beside data, has no room any more. */
  lacksRoom(payload: number): boolean {
    const needed = 2 * REPLY_HEAD_BYTES_MAX + payload;
    return this.#used + needed > this.#view.byteLength || this.iovecs.left < 3;
  }

  /** Forgets what was sent. */
  clear(): void {
    this.iovecs.clear();
    this.#used = 0;
    this.#lastIsHead = false;
  }

  /**
   * Success of a request whose reply holds nothing else.
   *
   * @hot Once a write.
   */
  done(request: Request): void {
    if (this.#style === 'extended') this.#chunk(request, DONE | NbdReplyType.None, 0, 0);
    else this.#simple(request, 0);
  }

  /** Failure of a request. READ and BLOCK_STATUS need a chunk where chunks were agreed on. */
  error(request: Request, error: NbdError): void {
    const needsChunk = request.type === NbdCmd.Read || request.type === NbdCmd.BlockStatus;
    if (this.#style === 'simple' || (this.#style === 'structured' && !needsChunk)) {
      this.#simple(request, error);
      return;
    }
    const at = this.#chunk(request, DONE | NbdReplyType.Error, ERROR_BYTES, 0);
    this.#view.setUint32(at, error);
    this.#view.setUint16(at + 4, 0);
  }

  /** Failure of a read of which a chunk of data went out. */
  errorOffset(request: Request, error: NbdError): void {
    const type = DONE | NbdReplyType.ErrorOffset;
    const at = this.#chunk(request, type, ERROR_BYTES + OFFSET_BYTES, 0);
    this.#view.setUint32(at, error);
    this.#view.setUint16(at + 4, 0);
    this.#view.setUint32(at + 6, request.offsetHigh);
    this.#view.setUint32(at + 10, request.offsetLow);
  }

  /**
   * Whether so much data would be one chunk if it were sent alone, and two behind what is gathered:
   * to send that first costs less than a second chunk does at the other end.
   *
   * @hot Once a read.
   */
  isWholeAlone(address: number, length: number): boolean {
    if (this.#style === 'simple' || !this.#startIsWhole) return false;
    return (
      isWithinPage(address, length) && this.bytes + this.dataHeadBytes + length > WHOLE_BYTES_MAX
    );
  }

  /**
   * The data of a read, `length` bytes at an address that may turn out bad.
   *
   * @hot Once a read.
   */
  data(request: Request, address: number, length: number): void {
    const isWhole =
      this.#startIsWhole && this.bytes + this.dataHeadBytes + length <= WHOLE_BYTES_MAX;
    const isLast = this.#style === 'simple' || (isWhole && isWithinPage(address, length));
    if (this.#style !== 'simple' && length === 0) {
      this.#chunk(request, DONE | NbdReplyType.None, 0, 0);
    } else this.dataHead(request, 0, length, isLast);
    if (length === 0) return;
    this.iovecs.push(address, length);
    this.#lastIsHead = false;
    if (!isLast) this.#chunk(request, DONE | NbdReplyType.None, 0, 0);
  }

  /**
   * The header of a part of a read's data, `length` bytes from byte `from` on, which is sent behind
   * the batch.
   *
   * @hot Once a MiB of large reads.
   */
  dataHead(request: Request, from: number, length: number, isLast: boolean): void {
    if (this.#style === 'simple') {
      this.#simple(request, 0);
      return;
    }
    const flags = isLast ? DONE : 0;
    const at = this.#chunk(request, flags | NbdReplyType.OffsetData, OFFSET_BYTES, length);
    const offset = request.offset + from;
    this.#view.setUint32(at, Math.floor(offset / 2 ** 32));
    this.#view.setUint32(at + 4, offset % 2 ** 32);
  }

  /** Whether another chunk follows the data in piece `index`. */
  endsWithChunk(index: number): boolean {
    return this.#style !== 'simple' && this.#view.getUint16(this.headOf(index) + 4) === 0;
  }

  /** A chunk of status, whose payload is copied. */
  status(request: Request, { type, payload, isLast }: StatusChunk): void {
    const at = this.#chunk(request, isLast ? DONE | type : type, payload.length, 0);
    for (const [i, byte] of payload.entries()) this.#view.setUint8(at + i, byte);
  }

  /** Whether piece `index` is data, and not headers. */
  isData(index: number): boolean {
    if (index >= this.iovecs.count) return false;
    const at = this.iovecs.addressOf(index) - this.#address;
    return at < 0 || at >= this.#view.byteLength;
  }

  /** Where in the arena the header of the data in piece `index` stands. */
  headOf(index: number): number {
    const end = this.iovecs.addressOf(index - 1) + this.iovecs.lengthOf(index - 1);
    return end - this.#address - this.dataHeadBytes;
  }

  /** Bytes of the header of a reply with data, up to the data. */
  get dataHeadBytes(): number {
    return this.#style === 'simple' ? this.headBytes : this.headBytes + OFFSET_BYTES;
  }

  /** Puts into `request` what a reply to it must repeat, from the header at `headAt`. */
  recall(headAt: number, request: Request): void {
    request.type = NbdCmd.Read;
    request.cookieHigh = this.#view.getUint32(headAt + 8);
    request.cookieLow = this.#view.getUint32(headAt + 12);
    if (this.#style === 'simple') return;
    const offsetAt = this.#style === 'extended' ? headAt + 16 : headAt + this.headBytes;
    request.offsetHigh = this.#view.getUint32(offsetAt);
    request.offsetLow = this.#view.getUint32(offsetAt + 4);
  }

  /** @hot Once a reply. */
  #simple(request: Request, error: number): void {
    const at = this.#head(SIMPLE_REPLY_BYTES);
    const view = this.#view;
    view.setUint32(at, NBD_SIMPLE_REPLY_MAGIC);
    view.setUint32(at + 4, error);
    view.setUint32(at + 8, request.cookieHigh);
    view.setUint32(at + 12, request.cookieLow);
  }

  /**
   * Writes the header of a chunk, with room for `own` bytes behind it; `data` more come from
   * elsewhere. Gives where the room begins.
   *
   * @hot Once a read.
   */
  #chunk(request: Request, flagsAndType: number, own: number, data: number): number {
    const isExtended = this.#style === 'extended';
    const headBytes = isExtended ? EXTENDED_REPLY_BYTES : STRUCTURED_REPLY_BYTES;
    const at = this.#head(headBytes + own);
    const view = this.#view;
    view.setUint32(at, isExtended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC);
    view.setUint32(at + 4, flagsAndType);
    view.setUint32(at + 8, request.cookieHigh);
    view.setUint32(at + 12, request.cookieLow);
    if (isExtended) {
      view.setUint32(at + 16, request.offsetHigh);
      view.setUint32(at + 20, request.offsetLow);
      view.setUint32(at + 24, 0);
    }
    view.setUint32(at + headBytes - 4, own + data);
    return at + headBytes;
  }

  /** Takes `length` bytes of the arena into the batch; gives where they begin. @hot Once a reply. */
  #head(length: number): number {
    const at = this.#used;
    assert(at + length <= this.#view.byteLength, 'a reply has room in its batch');
    this.#used += length;
    if (this.#lastIsHead) this.iovecs.extendLast(length);
    else this.iovecs.push(this.#address + at, length);
    this.#lastIsHead = true;
    return at;
  }
}

const HEAD_BYTES: Readonly<Record<ReplyStyle, number>> = {
  simple: SIMPLE_REPLY_BYTES,
  structured: STRUCTURED_REPLY_BYTES,
  extended: EXTENDED_REPLY_BYTES,
};

/** Whether data is all readable or all bad. */
function isWithinPage(address: number, length: number): boolean {
  return (address % PAGE_SIZE) + length <= PAGE_SIZE;
}
