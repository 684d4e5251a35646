import type { Test } from 'tap';

import type { ByteStream } from './byte-stream.js';
import { NbdConnection } from './connection.js';
import type { NbdAddress } from './connection.js';
import { encodeRequest, readChunk } from './message.js';
import type { Chunk, HeaderStyle, Request } from './message.js';
import type { ExportInfo } from './option.js';
import { Command, Option } from './protocol.js';
import { Reply } from './reply.js';

/** What {@link Transmission.start} negotiates. */
export interface StartOptions {
  readonly style?: HeaderStyle;
  readonly contexts?: readonly string[];
}

/** A connection after its handshake: requests out, replies in, in any order. */
export class Transmission {
  readonly stream: ByteStream;
  readonly style: HeaderStyle;
  readonly info: ExportInfo;
  /** Numbers of the selected contexts, by name. */
  readonly contexts: ReadonlyMap<string, number>;
  #lastCookie = 0n;
  /** Requests without a full reply. */
  readonly #inFlight = new Map<bigint, Request>();
  readonly #chunks = new Map<bigint, Chunk[]>();

  constructor(
    stream: ByteStream,
    style: HeaderStyle,
    info: ExportInfo,
    contexts: ReadonlyMap<string, number> = new Map(),
  ) {
    this.stream = stream;
    this.style = style;
    this.info = info;
    this.contexts = contexts;
  }

  /** Connects and negotiates up to GO. */
  static async start(
    t: Test,
    address: NbdAddress,
    name: string,
    options: StartOptions = {},
  ): Promise<Transmission> {
    return Transmission.negotiate(await NbdConnection.greet(t, address), name, options);
  }

  /** Goes on from the greeting, or from TLS, up to GO. */
  static async negotiate(
    connection: NbdConnection,
    name: string,
    { style = 'structured', contexts = [] }: StartOptions = {},
  ): Promise<Transmission> {
    if (style === 'structured') await connection.accepted(Option.StructuredReply);
    if (style === 'extended') await connection.accepted(Option.ExtendedHeaders);
    const selected = new Map<string, number>();
    if (contexts.length > 0) {
      const found = await connection.setMetaContext(name, contexts);
      for (const { id, name: context } of found) selected.set(context, id);
    }
    const info = await connection.go(name);
    return new Transmission(connection.stream, style, info, selected);
  }

  /** Size of the export in bytes. */
  get size(): number {
    const { size } = this.info;
    if (size === undefined) throw new Error('the server gave no size');
    return size;
  }

  /** Sends a request and gives its cookie; does not wait for the reply. */
  async send(request: Request): Promise<bigint> {
    const cookie = request.cookie ?? ++this.#lastCookie;
    this.#inFlight.set(cookie, request);
    await this.stream.write(encodeRequest(this.style, { ...request, cookie }));
    return cookie;
  }

  /** Has {@link receive} know a request that was sent by hand. */
  expect(request: Request & { readonly cookie: bigint }): void {
    this.#inFlight.set(request.cookie, request);
  }

  /** Waits for the next reply that is whole. */
  async receive(): Promise<Reply> {
    for (;;) {
      const chunk = await readChunk(this.stream, (cookie) => this.#dataLength(cookie));
      const request = this.#inFlight.get(chunk.cookie);
      if (request === undefined) throw new Error(`a reply to the unknown cookie ${chunk.cookie}`);
      this.#checkStyle(chunk, request);
      const chunks = [...(this.#chunks.get(chunk.cookie) ?? []), chunk];
      this.#chunks.set(chunk.cookie, chunks);
      if (!chunk.done) continue;
      this.#chunks.delete(chunk.cookie);
      this.#inFlight.delete(chunk.cookie);
      return new Reply(chunks);
    }
  }

  /** Sends a request and waits for its reply; none other is under way. */
  async call(request: Request): Promise<Reply> {
    const cookie = await this.send(request);
    const reply = await this.receive();
    if (reply.cookie !== cookie) throw new Error(`a reply to ${reply.cookie} and not ${cookie}`);
    return reply;
  }

  /** The error that a request gets, 0 for none. */
  async errorOf(request: Request): Promise<number> {
    return (await this.call(request)).error;
  }

  /** READ that is expected to succeed. */
  async read(offset: number, length: number, flags = 0): Promise<Buffer> {
    const reply = await this.call({ command: Command.Read, offset, length, flags });
    mustSucceed(reply);
    return reply.data(offset, length);
  }

  /** WRITE that is expected to succeed. */
  async write(offset: number, payload: Uint8Array, flags = 0): Promise<void> {
    const extended = this.style === 'extended' ? 1 << 5 : 0;
    const reply = await this.call({
      command: Command.Write,
      offset,
      payload,
      flags: flags | extended,
    });
    mustSucceed(reply);
  }

  /** FLUSH that is expected to succeed. */
  async flush(): Promise<void> {
    mustSucceed(await this.call({ command: Command.Flush }));
  }

  /** DISC; resolves when the server has closed, with what it sent till then. */
  async disconnect(): Promise<Buffer> {
    await this.stream.write(encodeRequest(this.style, { command: Command.Disc }));
    return this.stream.readToEnd();
  }

  #dataLength(cookie: bigint): number {
    const request = this.#inFlight.get(cookie);
    return request?.command === Command.Read ? Number(request.length ?? 0) : 0;
  }

  /** What the specification says of which header may answer what. */
  #checkStyle(chunk: Chunk, request: Request): void {
    const mayBeSimple =
      this.style === 'simple' || (this.style === 'structured' && request.command !== Command.Read);
    if (chunk.style !== this.style && !(chunk.style === 'simple' && mayBeSimple)) {
      throw new Error(`a ${chunk.style} reply on a connection of ${this.style} ones`);
    }
    if (chunk.style === 'extended' && chunk.offset !== BigInt(request.offset ?? 0)) {
      throw new Error(`a reply with the offset ${chunk.offset} and not that of its request`);
    }
  }
}

function mustSucceed(reply: Reply): void {
  if (reply.error !== 0)
    throw new Error(`the server answers error ${reply.error}: ${reply.message}`);
}
