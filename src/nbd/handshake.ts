import { ProtocolBreach } from './connection-end.js';
import type { Negotiation, Session } from './negotiation.js';
import { IHAVEOPT } from './protocol.js';

/** What a handshake wants of its transport: so many bytes, or these bytes sent. */
export type Transfer = { readonly read: number } | { readonly write: Buffer };

/** How a handshake ended. */
export type HandshakeEnd =
  | { readonly end: 'transmission'; readonly session: Session }
  | { readonly end: 'tls' }
  | { readonly end: 'closed' };

/** How much a client may ask before it is cut off. */
export interface HandshakeLimits {
  /** A client that has listed the exports gets some more for each. */
  readonly optionsMax: number;
  /** Bytes of the data of one option. */
  readonly optionBytesMax: number;
}

/**
 * Who lists the exports goes on to ask about each of them: nbdinfo and qemu-nbd send two options
 * for each.
 */
const OPTIONS_PER_LISTED = 4;

const CLIENT_FLAGS_BYTES = 4;
const OPTION_HEADER_BYTES = 16;
const END: Readonly<Record<'close' | 'tls', HandshakeEnd>> = {
  close: { end: 'closed' },
  tls: { end: 'tls' },
};

/**
 * The course of a handshake over any transport, which answers each {@link Transfer}: with the
 * bytes that were read, whole. It begins with the greeting; under TLS it goes on with options.
 *
 * @throws ProtocolBreach when the client must be left; it gets no reason.
 */
export function* handshake(
  negotiation: Negotiation,
  limits: HandshakeLimits,
): Generator<Transfer, HandshakeEnd, Buffer> {
  if (!negotiation.isSecured) {
    yield { write: negotiation.greeting() };
    const flags = yield { read: CLIENT_FLAGS_BYTES };
    if (!negotiation.acceptFlags(flags.readUInt32BE(0))) {
      throw new ProtocolBreach('the client has flags that nobody knows');
    }
  }
  const optionsMax = (): number => limits.optionsMax + OPTIONS_PER_LISTED * negotiation.listed;
  for (let options = 0; options < optionsMax(); options++) {
    const header = yield { read: OPTION_HEADER_BYTES };
    const length = header.readUInt32BE(12);
    if (header.readBigUInt64BE(0) !== IHAVEOPT) {
      throw new ProtocolBreach('an option does not begin with its magic');
    }
    if (length > limits.optionBytesMax) {
      throw new ProtocolBreach(
        `an option has ${length} bytes, and ${limits.optionBytesMax} are allowed`,
      );
    }
    const data = length === 0 ? Buffer.alloc(0) : yield { read: length };
    const step = negotiation.option(header.readUInt32BE(8), data);
    yield { write: step.reply };
    if (step.next === 'transmission') return { end: 'transmission', session: step.session };
    if (step.next !== 'option') return END[step.next];
  }
  throw new ProtocolBreach(`the handshake took more than ${optionsMax()} options`);
}
