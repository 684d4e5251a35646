import { DaxdError } from '../lib/errno.js';
import {
  transmissionFlags,
  type ExportDirectory,
  type ExportInfo,
  type OpenExport,
} from './export.js';
import { type MetaContext, metaContextId, queriedContexts } from './meta-contexts.js';
import { exportNameOf, parseInfoRequest, parseMetaContextRequest } from './option-payload.js';
import {
  infoBlockSize,
  infoExport,
  infoText,
  metaContextReply,
  optionError,
  optionReply,
  serverReply,
  sizeAndFlags,
} from './option-reply.js';
import {
  HandshakeFlag,
  IHAVEOPT,
  NBD_MAGIC,
  NbdInfo,
  NbdOpt,
  NbdRep,
  type ReplyStyle,
  STRING_BYTES_MAX,
} from './protocol.js';

/** Whether TLS is to be had on a connection, must be taken, or is on. */
export type TlsState = 'absent' | 'offered' | 'required' | 'on';

/** What was agreed when the transmission phase begins. */
export interface Session {
  readonly export: OpenExport;
  readonly style: ReplyStyle;
  /** Contexts that BLOCK_STATUS reports, in the order of their ids. */
  readonly contexts: readonly MetaContext[];
}

/** What follows an option: the reply is sent in every case. */
export type Step =
  | { readonly next: 'option' | 'close' | 'tls'; readonly reply: Buffer }
  | { readonly next: 'transmission'; readonly reply: Buffer; readonly session: Session };

/** Zeros behind the answer to EXPORT_NAME, for clients that have not opted out. */
const EXPORT_NAME_PADDING = Buffer.alloc(124);
const NOTHING = Buffer.alloc(0);

/**
 * The handshake of one connection, fixed newstyle, without its transport: options come in
 * whole, replies go out whole.
 */
export class Negotiation {
  readonly #directory: ExportDirectory;
  readonly #tls: TlsState;
  #padsExportName = true;
  #listed: number | undefined;
  #style: ReplyStyle = 'simple';
  /** What the last SET_META_CONTEXT chose, and for which export. */
  #selection: { readonly name: string; readonly contexts: readonly MetaContext[] } | undefined;

  constructor(directory: ExportDirectory, tls: TlsState) {
    this.#directory = directory;
    this.#tls = tls;
  }

  /** How many exports the first LIST named; 0 before it. */
  get listed(): number {
    return this.#listed ?? 0;
  }

  /** Whether it is the part under TLS: greeting and flags came before it. */
  get isSecured(): boolean {
    return this.#tls === 'on';
  }

  /** What the server says first. */
  greeting(): Buffer {
    const bytes = Buffer.alloc(18);
    bytes.writeBigUInt64BE(NBD_MAGIC, 0);
    bytes.writeBigUInt64BE(IHAVEOPT, 8);
    bytes.writeUInt16BE(HandshakeFlag.FixedNewstyle | HandshakeFlag.NoZeroes, 16);
    return bytes;
  }

  /** Takes the client's flags; false when it must be cut off for what it asks. */
  acceptFlags(flags: number): boolean {
    this.#padsExportName = (flags & HandshakeFlag.NoZeroes) === 0;
    return (flags & ~(HandshakeFlag.FixedNewstyle | HandshakeFlag.NoZeroes)) === 0;
  }

  /** The handshake that goes on under TLS: what was negotiated before counts no more. */
  secured(): Negotiation {
    const secured = new Negotiation(this.#directory, 'on');
    secured.#padsExportName = this.#padsExportName;
    return secured;
  }

  /** Answers one option. */
  option(option: number, data: Buffer): Step {
    if (option === NbdOpt.Abort) return { next: 'close', reply: optionReply(option, NbdRep.Ack) };
    if (this.#tls === 'required' && option !== NbdOpt.StartTls) return this.#refuseInClear(option);
    switch (option) {
      case NbdOpt.ExportName:
        return this.#exportName(data);
      case NbdOpt.StartTls:
        return this.#startTls(option, data);
      case NbdOpt.Go:
        return this.#go(option, data);
      default:
        return { next: 'option', reply: this.#plainOption(option, data) };
    }
  }

  /** Options that leave the handshake where it is. */
  #plainOption(option: number, data: Buffer): Buffer {
    switch (option) {
      case NbdOpt.List:
        return this.#list(option, data);
      case NbdOpt.Info:
        return this.#info(option, data);
      case NbdOpt.StructuredReply:
      case NbdOpt.ExtendedHeaders:
        return this.#chooseStyle(option, data);
      case NbdOpt.ListMetaContext:
      case NbdOpt.SetMetaContext:
        return this.#metaContext(option, data);
      default:
        return optionError(option, NbdRep.ErrUnsup, `option ${option} is not known`);
    }
  }

  /** EXPORT_NAME has no way to say no but the end of the connection. */
  #refuseInClear(option: number): Step {
    if (option === NbdOpt.ExportName) return { next: 'close', reply: NOTHING };
    const reply = optionError(option, NbdRep.ErrTlsReqd, 'begin TLS first: send STARTTLS');
    return { next: 'option', reply };
  }

  #startTls(option: number, data: Buffer): Step {
    if (this.#tls === 'absent') {
      const why = 'TLS is not configured here';
      return { next: 'option', reply: optionError(option, NbdRep.ErrUnsup, why) };
    }
    if (this.#tls === 'on' || data.length > 0) {
      const why = this.#tls === 'on' ? 'TLS is on already' : 'STARTTLS takes no data';
      return { next: 'option', reply: optionError(option, NbdRep.ErrInvalid, why) };
    }
    return { next: 'tls', reply: optionReply(option, NbdRep.Ack) };
  }

  #list(option: number, data: Buffer): Buffer {
    if (data.length > 0) return optionError(option, NbdRep.ErrInvalid, 'LIST takes no data');
    const exports = this.#directory.list();
    this.#listed ??= exports.length;
    const replies = exports.map((one) => serverReply(option, one.name, one.description));
    return Buffer.concat([...replies, optionReply(option, NbdRep.Ack)]);
  }

  #chooseStyle(option: number, data: Buffer): Buffer {
    if (data.length > 0) {
      return optionError(option, NbdRep.ErrInvalid, 'this option takes no data');
    }
    if (option === NbdOpt.ExtendedHeaders) this.#style = 'extended';
    else if (this.#style === 'extended') {
      const why = 'extended headers were agreed on, and hold';
      return optionError(option, NbdRep.ErrExtHeaderReqd, why);
    } else this.#style = 'structured';
    return optionReply(option, NbdRep.Ack);
  }

  #info(option: number, data: Buffer): Buffer {
    const request = parseInfoRequest(data);
    if (request === undefined) return badLengths(option);
    return refusedOr(option, () => {
      const info = this.#directory.describe(request.name);
      return this.#infoReplies(option, info, request.wanted);
    });
  }

  #go(option: number, data: Buffer): Step {
    const request = parseInfoRequest(data);
    if (request === undefined) return { next: 'option', reply: badLengths(option) };
    try {
      const opened = this.#directory.open(request.name);
      const reply = this.#infoReplies(option, opened.info, request.wanted);
      return { next: 'transmission', reply, session: this.#session(opened) };
    } catch (failure) {
      return { next: 'option', reply: refusal(option, failure) };
    }
  }

  #exportName(data: Buffer): Step {
    const name = exportNameOf(data);
    // A client with extended headers must not send this: it could not know what is agreed.
    if (name === undefined || this.#style === 'extended') return { next: 'close', reply: NOTHING };
    try {
      const opened = this.#directory.open(name);
      const flags = transmissionFlags(opened.info, this.#style);
      const head = sizeAndFlags(opened.info.sizeBytes, flags);
      const reply = this.#padsExportName ? Buffer.concat([head, EXPORT_NAME_PADDING]) : head;
      return { next: 'transmission', reply, session: this.#session(opened) };
    } catch (failure) {
      if (!(failure instanceof DaxdError)) throw failure;
      return { next: 'close', reply: NOTHING };
    }
  }

  #infoReplies(option: number, info: ExportInfo, wanted: ReadonlySet<number>): Buffer {
    const flags = transmissionFlags(info, this.#style);
    return Buffer.concat([
      infoExport(option, info.sizeBytes, flags),
      infoBlockSize(option),
      ...(wanted.has(NbdInfo.Name) ? [infoText(option, NbdInfo.Name, info.name)] : []),
      ...(wanted.has(NbdInfo.Description)
        ? [infoText(option, NbdInfo.Description, info.description)]
        : []),
      optionReply(option, NbdRep.Ack),
    ]);
  }

  #metaContext(option: number, data: Buffer): Buffer {
    const isSet = option === NbdOpt.SetMetaContext;
    // Whatever comes of it, an earlier choice is gone.
    if (isSet) this.#selection = undefined;
    if (this.#style === 'simple') {
      const why = 'contexts need structured replies: ask for those first';
      return optionError(option, NbdRep.ErrInvalid, why);
    }
    const request = parseMetaContextRequest(data);
    if (request === undefined) return badLengths(option);
    return refusedOr(option, () => {
      const info = this.#directory.describe(request.name);
      const contexts = isSet
        ? queriedContexts(info.contexts, request.queries, 'exact')
        : listedContexts(info.contexts, request.queries);
      if (isSet) this.#selection = { name: info.name, contexts };
      const replies = contexts.map((context) =>
        metaContextReply(option, isSet ? metaContextId(context) : 0, context),
      );
      return Buffer.concat([...replies, optionReply(option, NbdRep.Ack)]);
    });
  }

  #session(opened: OpenExport): Session {
    const isChosenFor = this.#selection?.name === opened.info.name;
    const contexts = isChosenFor ? (this.#selection?.contexts ?? []) : [];
    return { export: opened, style: this.#style, contexts };
  }
}

/** No query at all lists everything. */
function listedContexts(
  available: readonly MetaContext[],
  queries: readonly string[],
): readonly MetaContext[] {
  return queries.length === 0 ? available : queriedContexts(available, queries, 'wildcards');
}

function badLengths(option: number): Buffer {
  return optionError(option, NbdRep.ErrInvalid, 'the lengths in the data do not fit it');
}

function refusedOr(option: number, answer: () => Buffer): Buffer {
  try {
    return answer();
  } catch (failure) {
    return refusal(option, failure);
  }
}

/** Why an export is not to be had, in the words of the wire. */
function refusal(option: number, failure: unknown): Buffer {
  if (!(failure instanceof DaxdError)) throw failure;
  const message = failure.message.slice(0, STRING_BYTES_MAX / 4);
  return optionError(option, refusalType(failure), message);
}

function refusalType({ code }: DaxdError): number {
  if (code === 'ENOENT') return NbdRep.ErrUnknown;
  return code === 'draining' || code === 'ENODEV' ? NbdRep.ErrShutdown : NbdRep.ErrPolicy;
}
