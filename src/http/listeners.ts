import { once } from 'node:events';
import type { Stats } from 'node:fs';
import { chmod, stat, unlink } from 'node:fs/promises';
import { STATUS_CODES, createServer, request } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

import { DaxdError } from '../lib/errno.js';
import { HttpRefusal, PROBLEM_MEDIA_TYPE, problemFor } from './problem.js';

/** Where to listen. */
export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

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

const SOCKET_MODE = 0o660;

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
   * @throws DaxdError EBUSY when somebody listens there already, EINVAL when it cannot be
   *   listened on.
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
      await removeDeadSocket(address.path);
      server.on('connection', (socket) => options.unixSockets.add(socket));
    }
    await listen(server, address);
    return new Listener(server, urlOf(server, address));
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

async function listen(server: Server, address: Address): Promise<void> {
  const where = address.kind === 'tcp' ? `${address.host}:${address.port}` : address.path;
  try {
    server.listen(
      address.kind === 'tcp' ? { host: address.host, port: address.port } : { path: address.path },
    );
    await once(server, 'listening');
    if (address.kind === 'unix') await chmod(address.path, SOCKET_MODE);
  } catch (cause) {
    const code = errnoOf(cause);
    const detail = `cannot listen on ${where}: ${code ?? String(cause)}`;
    throw code === 'EADDRINUSE'
      ? new DaxdError('EBUSY', `${detail}: stop who listens there, or give another --listen`, {
          cause,
        })
      : new DaxdError('EINVAL', `${detail}: give another --listen`, { cause });
  }
}

/** @throws DaxdError EBUSY when somebody answers there; EEXIST when it is no socket. */
async function removeDeadSocket(path: string): Promise<void> {
  const found = await statOrUndefined(path);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new DaxdError('EEXIST', `${path} is no socket: give another --listen or move it away`);
  }
  if (await answers(path)) {
    throw new DaxdError('EBUSY', `somebody listens on ${path}: stop it, or give another --listen`);
  }
  await unlink(path);
}

async function statOrUndefined(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw new DaxdError('EINVAL', `cannot look at ${path}: ${String(error)}`, { cause: error });
  }
}

/** Whether anybody accepts connections on a Unix socket. */
async function answers(socketPath: string): Promise<boolean> {
  const probe = request({ socketPath, path: '/livez', agent: false });
  try {
    await new Promise<void>((resolve, reject) => {
      probe.once('error', reject);
      probe.once('socket', (socket) => socket.once('connect', resolve));
      probe.end();
    });
    return true;
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return false;
    const detail = `cannot tell whether ${socketPath} is in use: ${code ?? String(error)}`;
    throw new DaxdError('EBUSY', detail, { cause: error });
  } finally {
    // Cut short on purpose: what it says then is no news.
    probe.on('error', () => {});
    probe.destroy();
  }
}

function urlOf(server: Server, address: Address): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  const bound = server.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : address.port;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `http://${host}:${port}`;
}

/** Answers what is not HTTP, as far as the connection still can. */
function answerClientError(error: Error, socket: Duplex): void {
  if (!socket.writable || errnoOf(error) === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const isTooLong = errnoOf(error) === 'HPE_HEADER_OVERFLOW';
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

function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
