import { once } from 'node:events';
import { createConnection } from 'node:net';
import type { NetConnectOpts } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';

import type { Test } from 'tap';

import { ByteStream } from './byte-stream.js';
import {
  encodeContextRequest,
  encodeInfoRequest,
  encodeOption,
  exportInfo,
  isFinal,
  listedExports,
  metaContexts,
  readOptionReply,
} from './option.js';
import type { ExportInfo, ListedExport, MetaContext, OptionReply } from './option.js';
import {
  ClientFlag,
  HandshakeFlag,
  NBD_MAGIC,
  Option,
  OPTION_MAGIC,
  OptionReplyType,
} from './protocol.js';

/** Where a server listens. */
export type NbdAddress = NetConnectOpts;

/**
 * A connection that negotiates, one option after the other. Nothing is sent that was not asked
 * for, and every byte can be sent by hand through {@link stream}.
 */
export class NbdConnection {
  #stream: ByteStream;

  private constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  /** Connects and sends nothing; the connection goes when the test ends. */
  static async open(t: Test, address: NbdAddress): Promise<NbdConnection> {
    const socket = createConnection({ ...address, allowHalfOpen: true });
    t.teardown(() => socket.destroy());
    await once(socket, 'connect');
    if (!('path' in address)) socket.setNoDelay();
    return new NbdConnection(new ByteStream(socket));
  }

  /** Connects and exchanges the greetings. */
  static async greet(
    t: Test,
    address: NbdAddress,
    flags: number = ClientFlag.FixedNewstyle | ClientFlag.NoZeroes,
  ): Promise<NbdConnection> {
    const connection = await NbdConnection.open(t, address);
    await connection.readGreeting();
    await connection.sendFlags(flags);
    return connection;
  }

  /** The bytes below; after STARTTLS those inside of it. */
  get stream(): ByteStream {
    return this.#stream;
  }

  /** Waits for the greeting; its flags must be the two that the protocol knows. */
  async readGreeting(): Promise<void> {
    const greeting = await this.#stream.read(18);
    const magics = [greeting.readBigUInt64BE(0), greeting.readBigUInt64BE(8)];
    if (magics[0] !== NBD_MAGIC || magics[1] !== OPTION_MAGIC) {
      throw new Error(`the greeting is ${greeting.toString('hex')}`);
    }
    const flags = greeting.readUInt16BE(16);
    const expected = HandshakeFlag.FixedNewstyle | HandshakeFlag.NoZeroes;
    if (flags !== expected) throw new Error(`the greeting has the flags ${flags}`);
  }

  /** Sends the client's flags. */
  async sendFlags(flags: number): Promise<void> {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(flags);
    await this.#stream.write(bytes);
  }

  /** Sends an option and waits for all replies to it. */
  async option(option: number, payload?: Uint8Array): Promise<OptionReply[]> {
    await this.#stream.write(encodeOption(option, payload));
    return this.replies(option);
  }

  /** Waits for all replies to an option. */
  async replies(option: number): Promise<OptionReply[]> {
    const replies: OptionReply[] = [];
    for (;;) {
      const reply = await readOptionReply(this.#stream);
      if (reply.option !== option) throw new Error(`a reply to option ${reply.option}`);
      replies.push(reply);
      if (isFinal(reply)) return replies;
    }
  }

  /** Sends an option that is expected to end in an acknowledgement. */
  async accepted(option: number, payload?: Uint8Array): Promise<OptionReply[]> {
    const replies = await this.option(option, payload);
    const last = replies.at(-1);
    if (last?.type !== OptionReplyType.Ack) {
      const type = last === undefined ? 'nothing' : `2^31+${last.type - 2 ** 31}`;
      throw new Error(`option ${option} got ${type}: ${last?.payload.toString()}`);
    }
    return replies;
  }

  /** Type of the last reply to an option, and what it says. */
  async refused(option: number, payload?: Uint8Array): Promise<[type: number, text: string]> {
    const last = (await this.option(option, payload)).at(-1);
    return [last?.type ?? 0, last?.payload.toString() ?? ''];
  }

  /** LIST. */
  async list(): Promise<ListedExport[]> {
    return listedExports(await this.accepted(Option.List));
  }

  /** INFO. */
  async info(name: string, items: readonly number[] = []): Promise<ExportInfo> {
    return exportInfo(await this.accepted(Option.Info, encodeInfoRequest(name, items)));
  }

  /** GO; what follows is transmission. */
  async go(name: string, items: readonly number[] = []): Promise<ExportInfo> {
    return exportInfo(await this.accepted(Option.Go, encodeInfoRequest(name, items)));
  }

  /** SET_META_CONTEXT. */
  async setMetaContext(name: string, queries: readonly string[]): Promise<MetaContext[]> {
    const payload = encodeContextRequest(name, queries);
    return metaContexts(await this.accepted(Option.SetMetaContext, payload));
  }

  /** LIST_META_CONTEXT. */
  async listMetaContext(name: string, queries: readonly string[]): Promise<MetaContext[]> {
    const payload = encodeContextRequest(name, queries);
    return metaContexts(await this.accepted(Option.ListMetaContext, payload));
  }

  /** STARTTLS, and the TLS handshake behind it. */
  async startTls(options: ConnectionOptions): Promise<void> {
    await this.accepted(Option.StartTls);
    const socket = connectTls({ ...options, socket: this.#stream.socket });
    await once(socket, 'secureConnect');
    this.#stream = new ByteStream(socket);
  }

  /** Waits until the server has closed; the bytes that came before. */
  async closed(): Promise<Buffer> {
    return this.#stream.readToEnd();
  }
}
