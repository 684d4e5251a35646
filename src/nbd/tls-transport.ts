import { once } from 'node:events';
import { Socket } from 'node:net';
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls';

import { ClientGone } from './connection-end.js';
import type { Transfer } from './handshake.js';

/** What TLS stands on: plain values, which cross threads. */
export interface TlsKeys {
  /** PEM; client certificates must be signed by `ca`. */
  readonly x509: { readonly ca: Buffer; readonly cert: Buffer; readonly key: Buffer } | undefined;
  /** Keys by the name of the user. */
  readonly psk: ReadonlyMap<string, Uint8Array> | undefined;
}

/** What OpenSSL takes by itself, and in front the suites that pre-shared keys need. */
const PSK_CIPHERS =
  'TLS_AES_128_GCM_SHA256:ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:' +
  'DHE-PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384:PSK-AES128-GCM-SHA256';

const NOTHING = Buffer.alloc(0);

/** A connection under TLS, on the event loop of its worker: whole messages in and out. */
export class TlsTransport {
  readonly #socket: TLSSocket;
  readonly #queuedBytesMax: number;

  private constructor(socket: TLSSocket, queuedBytesMax: number) {
    this.#socket = socket;
    this.#queuedBytesMax = queuedBytesMax;
    // What it says is told by reads and writes too, and nobody must hear it twice.
    socket.on('error', () => {});
  }

  /**
   * Does the server's part of a TLS handshake.
   *
   * @param fd a descriptor that is the transport's from now on.
   * @param queuedBytesMax bytes that a client may leave unread before its requests wait.
   * @throws ClientGone when it fails: a certificate or key that is not known, another protocol.
   */
  static async open(fd: number, keys: TlsKeys, queuedBytesMax: number): Promise<TlsTransport> {
    const server = serverOf(keys);
    const plain = new Socket({ fd, readable: true, writable: true });
    const secured = new Promise<TLSSocket>((resolve, reject) => {
      server.once('secureConnection', resolve);
      const fail = (): void => {
        plain.destroy();
        reject(new ClientGone());
      };
      server.once('tlsClientError', fail);
      plain.once('close', fail);
    });
    server.emit('connection', plain);
    return new TlsTransport(await secured, queuedBytesMax);
  }

  /**
   * Does what a protocol's course asks, to its end.
   *
   * @throws ClientGone, and whatever the course throws.
   */
  async run<End>(course: Generator<Transfer, End, Buffer>): Promise<End> {
    let step = course.next(NOTHING);
    while (step.done !== true) {
      const { value } = step;
      if ('write' in value) await this.write(value.write);
      step = course.next('read' in value ? await this.read(value.read) : NOTHING);
    }
    return step.value;
  }

  /** Whether the client has closed its side and all was read. */
  get ended(): boolean {
    return this.#socket.readableEnded || this.#socket.destroyed;
  }

  /** Reads `length` bytes, 1 or more. @throws ClientGone when they will not come. */
  async read(length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let left = length; left > 0;) {
      const part = this.#take(left);
      if (part === undefined) await this.#readable();
      else {
        parts.push(part);
        left -= part.length;
      }
    }
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
  }

  /** Sends, and waits while the client leaves too much unread. @throws ClientGone */
  async write(message: Buffer): Promise<void> {
    if (this.#socket.destroyed) throw new ClientGone();
    this.#socket.write(message);
    if (this.#socket.writableLength < this.#queuedBytesMax) return;
    await this.#until('drain');
  }

  /** Says farewell and closes, once what was sent has gone, or the client. */
  async close(): Promise<void> {
    if (this.#socket.destroyed) return;
    // Not by `once` of node:events: a client that breaks off now is an error there, and here it is gone.
    const closed = new Promise<void>((resolve) => {
      this.#socket.once('close', () => {
        resolve();
      });
    });
    this.#socket.end(() => {
      this.#socket.destroy();
    });
    await closed;
  }

  #take(most: number): Buffer | undefined {
    const length = Math.min(most, this.#socket.readableLength);
    if (length === 0) return undefined;
    const part: unknown = this.#socket.read(length);
    return part instanceof Buffer ? part : undefined;
  }

  async #readable(): Promise<void> {
    if (this.ended) throw new ClientGone();
    // A read of nothing asks for more, and tells of the end.
    this.#socket.read(0);
    await this.#until('readable');
    if (this.#socket.readableLength === 0 && this.ended) throw new ClientGone();
  }

  async #until(event: 'readable' | 'drain'): Promise<void> {
    const ending = new AbortController();
    const ended = (): void => {
      ending.abort();
    };
    this.#socket.once('end', ended).once('close', ended);
    try {
      await once(this.#socket, event, { signal: ending.signal });
    } catch {
      throw new ClientGone();
    } finally {
      this.#socket.off('end', ended).off('close', ended);
    }
  }
}

function serverOf({ x509, psk }: TlsKeys): Server {
  const context: SecureContextOptions = x509 === undefined ? {} : { ...x509 };
  if (psk === undefined) {
    return createServer({ ...context, requestCert: true, rejectUnauthorized: true });
  }
  return createServer({
    ...context,
    requestCert: x509 !== undefined,
    rejectUnauthorized: x509 !== undefined,
    ciphers: x509 === undefined ? PSK_CIPHERS : `${PSK_CIPHERS}:HIGH:!aNULL`,
    pskCallback: (_socket, identity) => psk.get(identity) ?? null,
  });
}
