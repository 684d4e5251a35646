import {
  COMPACT_REQUEST_BYTES,
  EXTENDED_REQUEST_BYTES,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_REQUEST_MAGIC,
  NbdCmd,
  NbdCmdFlag,
  type ReplyStyle,
} from './protocol.js';

/** Why nobody goes on with a client whose header {@link Request.decode} does not take. */
export const NO_REQUEST = 'a request does not begin with the magic that was agreed on';

const WORD_VALUES = 2 ** 32;
/** High words from here on belong to numbers that a JavaScript number does not hold exactly. */
const HIGH_WORD_END = 2 ** 21;

/**
 * One request, as its header says. The same object serves request after request: nothing is
 * allocated for one.
 */
export class Request {
  readonly headerBytes: number;
  readonly #magic: number;
  readonly #extended: boolean;
  flags = 0;
  type = 0;
  /** The client's cookie, as two words in the order of the wire. */
  cookieHigh = 0;
  cookieLow = 0;
  /** As the wire has them, for the reply headers that repeat them. */
  offsetHigh = 0;
  offsetLow = 0;
  /** Bytes; Infinity for what no export reaches. */
  offset = 0;
  /** Of the effect, in bytes; Infinity likewise. */
  length = 0;

  /** @param style of the replies to it, with which the form of headers is agreed on */
  constructor(style: ReplyStyle) {
    const extended = style === 'extended';
    this.#extended = extended;
    this.headerBytes = extended ? EXTENDED_REQUEST_BYTES : COMPACT_REQUEST_BYTES;
    this.#magic = extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC;
  }

  /**
   * Takes the header at `at`; false when it is none.
   *
   * @hot Once a request.
   */
  decode(view: DataView, at: number): boolean {
    if (view.getUint32(at) !== this.#magic) return false;
    this.flags = view.getUint16(at + 4);
    this.type = view.getUint16(at + 6);
    this.cookieHigh = view.getUint32(at + 8);
    this.cookieLow = view.getUint32(at + 12);
    this.offsetHigh = view.getUint32(at + 16);
    this.offsetLow = view.getUint32(at + 20);
    this.offset = numberOf(this.offsetHigh, this.offsetLow);
    this.length = this.#extended
      ? numberOf(view.getUint32(at + 24), view.getUint32(at + 28))
      : view.getUint32(at + 24);
    return true;
  }

  /** Bytes of payload that follow the header. */
  get payloadBytes(): number {
    const hasPayload = this.#extended
      ? (this.flags & NbdCmdFlag.PayloadLen) !== 0
      : this.type === NbdCmd.Write;
    return hasPayload ? this.length : 0;
  }

  has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }
}

/** @hot Once or twice a request. */
function numberOf(high: number, low: number): number {
  return high < HIGH_WORD_END ? high * WORD_VALUES + low : Infinity;
}
