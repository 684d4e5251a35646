import { once } from 'node:events';
import { STATUS_CODES, ServerResponse, createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerOptions } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Duplex } from 'node:stream';

import { setPromptTimer } from '../lib/clock.js';
import { systemCodeOf } from '../lib/errno.js';
import { type Address, hostAndPort, listenOn } from '../lib/listen.js';
import { keepAlive } from './lease-connections.js';
import { HttpRefusal, PROBLEM_MEDIA_TYPE, problemFor } from './problem.js';
import { QueuedResponses } from './queued-responses.js';
import type { TlsOptions } from './tls-files.js';

/** What a listener does with its connections. */
export interface ListenerOptions {
  readonly route: (request: IncomingMessage, response: ServerResponse) => void;
  /** How TCP speaks TLS; undefined: it does not. A Unix socket never does. */
  readonly tls: TlsOptions | undefined;
  /** Takes note of each connection that comes in over a Unix socket. */
  readonly unixSockets: WeakSet<object>;
  /**
   * Connections that leases end with: a listener closes none of them for being idle, for then
   * the end of one would prove nothing of its holder.
   */
  readonly lastingConnections: WeakSet<object>;
  readonly limits: {
    readonly connectionsMax: number;
    readonly requestsUnderWayMax: number;
    readonly headersTimeoutMs: number;
    readonly keepAliveTimeoutMs: number;
  };
}

/** How long a TCP connection is silent before the client's machine is asked whether it is there. */
const TCP_PROBE_MS = 15_000;

/** How long a client has to read why its connection ends, in milliseconds. */
const CUT_GRACE_MS = 2_000;

/** One address that daxd answers on. */
export class Listener {
  /** `http://127.0.0.1:8470`, `https://127.0.0.1:8470`, or `unix:/path`. */
  readonly url: string;
  readonly #server: Server;
  readonly #sockets: ReadonlySet<Duplex>;

  private constructor(server: Server, sockets: ReadonlySet<Duplex>, url: string) {
    this.#server = server;
    this.#sockets = sockets;
    this.url = url;
  }

  /**
   * Starts to listen. The socket file of a daemon that is gone is replaced.
   *
   * @throws DaxdError as `listenOn` does.
   */
  static async open(address: Address, options: ListenerOptions): Promise<Listener> {
    const isTls = options.tls !== undefined && address.kind === 'tcp';
    const server = isTls ? tlsServer(options, options.tls) : createServer(timeouts(options));
    const queued = new QueuedResponses(options.limits.requestsUnderWayMax - 1);
    const answer: RequestListener = (request, response) => {
      queued.watch(request.socket, response);
      // What came with the one too many is nobody's any more.
      if (request.socket.destroyed) return;
      request.url = originForm(request.url);
      if (options.lastingConnections.has(request.socket)) keepAlive(response);
      options.route(request, response);
    };
    // The route refuses what it does not know to expect.
    server.on('request', answer).on('checkExpectation', answer).on('connect', refuseConnect);
    const sockets = openSockets(server);
    server.maxConnections = options.limits.connectionsMax;
    server.on('clientError', answerClientError);
    server.on('timeout', (socket: Duplex) => {
      if (!options.lastingConnections.has(socket)) socket.destroy();
    });
    if (address.kind === 'unix') {
      server.on('connection', (socket) => options.unixSockets.add(socket));
    }
    const bound = await listenOn(server, address, '--listen');
    return new Listener(server, sockets, urlOf(bound, isTls ? 'https' : 'http'));
  }

  /**
   * Takes no new connections, and closes those that wait between two requests. Settles when
   * the last one is gone.
   */
  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeIdleConnections();
    await closed;
  }

  /** Cuts the connections that are left. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** Every connection: a server itself does not know those whose TLS is not set up yet. */
function openSockets(server: Server): ReadonlySet<Duplex> {
  const sockets = new Set<Duplex>();
  server.on('connection', (socket: Duplex) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return sockets;
}

function timeouts({ limits }: ListenerOptions): ServerOptions {
  return {
    headersTimeout: limits.headersTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    // The routes say it as they say all else.
    requireHostHeader: false,
    // An upload may take as long as it needs.
    requestTimeout: 0,
    // A client whose machine died says nothing more: what it waits for, a barrier too, ends with it.
    keepAlive: true,
    keepAliveInitialDelay: TCP_PROBE_MS,
  };
}

function tlsServer(options: ListenerOptions, { cert, key, clientCa }: TlsOptions): Server {
  const server = createTlsServer({
    ...timeouts(options),
    handshakeTimeout: options.limits.headersTimeoutMs,
    cert,
    key,
    // Without a CA of its own a client's certificate would be looked for among the system's.
    ...(clientCa !== undefined && { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
  });
  // There is no telling it in HTTP.
  server.prependListener('tlsClientError', (_error, socket) => socket.destroy());
  return server;
}

function urlOf(address: Address, scheme: 'http' | 'https'): string {
  return address.kind === 'unix' ? `unix:${address.path}` : `${scheme}://${hostAndPort(address)}`;
}

/** A target as most send it: the form that proxies are asked in is to be taken, too (RFC 9112, 3.2.2). */
function originForm(target = ''): string {
  if (target.startsWith('/')) return target;
  const path = target.replace(/^https?:\/\/[^/?#]*/i, '');
  return path === target || path.startsWith('/') ? path : `/${path}`;
}

/** What a connection is told of a request that never was one. */
const CLIENT_ERRORS: Readonly<Record<string, { status: number; message: string } | undefined>> = {
  HPE_HEADER_OVERFLOW: { status: 431, message: 'the head of the request is longer than 16 KiB' },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, message: 'the head of the request came too slowly' },
};

/** Answers what is not HTTP, as far as the connection still can. */
function answerClientError(error: Error, socket: Duplex): void {
  const code = systemCodeOf(error) ?? '';
  // Within an answer under way another one would be taken for its bytes.
  const isAnswering = answerUnderWay(socket)?.headersSent === true;
  if (!socket.writable || code === 'ECONNRESET' || isAnswering) {
    socket.destroy();
    return;
  }
  const refusal = new HttpRefusal({
    code: 'EINVAL',
    ...(CLIENT_ERRORS[code] ?? { status: 400, message: 'this is not HTTP' }),
  });
  endWith(refusal, socket);
}

/** The answer whose turn it is on a connection; undefined between two. */
function answerUnderWay(socket: Duplex): ServerResponse | undefined {
  const answer: unknown = Reflect.get(socket, '_httpMessage');
  return answer instanceof ServerResponse ? answer : undefined;
}

/** Tunnels are for proxies; what is asked for is no path of this daemon. */
function refuseConnect(_request: IncomingMessage, socket: Duplex): void {
  // Node leaves the socket to whoever takes CONNECT: nobody else hears that its client is gone.
  socket.on('error', () => {}).resume();
  // The client would take this for the answer to what it asked before.
  if (answerUnderWay(socket) !== undefined) {
    socket.destroy();
    return;
  }
  const message = 'this is no proxy: CONNECT is not taken';
  endWith(new HttpRefusal({ status: 405, code: 'EINVAL', message }), socket);
}

/** Says why, and closes; a client that does not close its side then is cut. */
function endWith(refusal: HttpRefusal, socket: Duplex): void {
  const cancelTimer = setPromptTimer(() => socket.destroy(), CUT_GRACE_MS);
  socket.once('close', cancelTimer);
  const body = JSON.stringify(problemFor(refusal, '/'));
  socket.end(
    `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}\r\n` +
      `content-type: ${PROBLEM_MEDIA_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `connection: close\r\n\r\n${body}`,
  );
}
