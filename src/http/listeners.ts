import { once } from 'node:events';
import { STATUS_CODES, createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

import { type Address, hostAndPort, listenOn, systemCodeOf } from '../lib/listen.js';
import { HttpRefusal, PROBLEM_MEDIA_TYPE, problemFor } from './problem.js';

/** What a listener does with its connections. */
export interface ListenerOptions {
  readonly route: (request: IncomingMessage, response: ServerResponse) => void;
  /** Takes note of each connection that comes in over a Unix socket. */
  readonly unixSockets: WeakSet<object>;
  readonly limits: {
    readonly connectionsMax: number;
    readonly headersTimeoutMs: number;
    readonly keepAliveTimeoutMs: number;
  };
}

/** One address that daxd answers on. */
export class Listener {
  /** `http://127.0.0.1:8470`, or `unix:/path`. */
  readonly url: string;
  readonly #server: Server;

  private constructor(server: Server, url: string) {
    this.#server = server;
    this.url = url;
  }

  /**
   * Starts to listen. The socket file of a daemon that is gone is replaced.
   *
   * @throws DaxdError as `listenOn` does.
   */
  static async open(address: Address, options: ListenerOptions): Promise<Listener> {
    const { limits } = options;
    const server = createServer(
      {
        headersTimeout: limits.headersTimeoutMs,
        keepAliveTimeout: limits.keepAliveTimeoutMs,
        // An upload may take as long as it needs.
        requestTimeout: 0,
      },
      options.route,
    );
    server.maxConnections = limits.connectionsMax;
    server.on('clientError', answerClientError);
    if (address.kind === 'unix') {
      server.on('connection', (socket) => options.unixSockets.add(socket));
    }
    return new Listener(server, urlOf(await listenOn(server, address, '--listen')));
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
    this.#server.closeAllConnections();
  }
}

function urlOf(address: Address): string {
  return address.kind === 'unix' ? `unix:${address.path}` : `http://${hostAndPort(address)}`;
}

/** Answers what is not HTTP, as far as the connection still can. */
function answerClientError(error: Error, socket: Duplex): void {
  if (!socket.writable || systemCodeOf(error) === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const isTooLong = systemCodeOf(error) === 'HPE_HEADER_OVERFLOW';
  const refusal = new HttpRefusal({
    status: isTooLong ? 431 : 400,
    code: 'EINVAL',
    message: isTooLong ? 'the head of the request is longer than 16 KiB' : 'this is not HTTP',
  });
  const body = JSON.stringify(problemFor(refusal, '/'));
  socket.end(
    `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}\r\n` +
      `content-type: ${PROBLEM_MEDIA_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `connection: close\r\n\r\n${body}`,
  );
}
