import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

import { DaxdError, systemCodeOf } from '../lib/errno.js';
import type { Callers } from './callers.js';

/** What proxies add to a request: the connection is theirs then (RFC 9110, 7.6.3; RFC 7239). */
const PROXY_HEADERS = ['via', 'forwarded', 'x-forwarded-for'] as const;

/** Leaves out the word of when an idle connection is closed, by which clients close it first. */
export function keepAlive(response: ServerResponse): void {
  response.setHeader('connection', 'keep-alive');
}

/**
 * Leases that end when a connection does. Proof is that the holder closed it, or that its
 * machine did for it: so the holder has to be on this one, where nothing but its own end closes
 * the connection of a process. What daxd closes itself says nothing.
 */
export class LeaseConnections {
  readonly #callers: Callers;
  readonly #lasting: WeakSet<object>;
  readonly #onClosed: (lease: string) => void;
  /** The connection that each lease ends with; a lease stands in the set of that one alone. */
  readonly #connections = new Map<string, Duplex>();
  readonly #bound = new WeakMap<Duplex, Set<string>>();

  /**
   * @param lasting takes note of each connection that leases end with.
   * @param onClosed is told of each lease whose holder has closed its connection.
   */
  constructor(callers: Callers, lasting: WeakSet<object>, onClosed: (lease: string) => void) {
    this.#callers = callers;
    this.#lasting = lasting;
    this.#onClosed = onClosed;
  }

  /**
   * Looks whether a lease can end with the connection of a request.
   *
   * @throws DaxdError EINVAL where its end would prove nothing.
   */
  check(request: IncomingMessage): void {
    if (!this.#callers.isLocal(request)) {
      throw new DaxdError(
        'EINVAL',
        'a lease ends with a connection over loopback or a Unix socket alone: elsewhere its end proves nothing',
      );
    }
    if (PROXY_HEADERS.some((name) => request.headers[name] !== undefined)) {
      throw new DaxdError(
        'EINVAL',
        'a lease ends with a connection of its holder, and this one is of a proxy: ask daxd itself',
      );
    }
    const isLast =
      request.httpVersion === '1.0' || /\bclose\b/i.test(request.headers.connection ?? '');
    if (isLast) {
      throw new DaxdError('EINVAL', 'keep the connection open that the lease is to end with');
    }
  }

  /**
   * Has a lease end with the connection of a request, before it is answered, and no more with
   * one that it was bound to before: its holder may have sent a request again over another.
   */
  bind({ socket }: IncomingMessage, response: ServerResponse, lease: string): void {
    keepAlive(response);
    if (isClosedByHolder(socket)) {
      // Where another one is open still, that is the holder's.
      if (!this.#connections.has(lease)) this.#onClosed(lease);
      return;
    }
    // What tells of its end has come and gone: nothing would take the lease out again.
    if (socket.destroyed) return;
    const leases = this.#bound.get(socket) ?? this.#watch(socket);
    const former = this.#connections.get(lease);
    if (former !== undefined) this.#bound.get(former)?.delete(lease);
    this.#connections.set(lease, socket);
    leases.add(lease);
  }

  /** Forgets a lease that has ended. */
  forget(lease: string): void {
    const socket = this.#connections.get(lease);
    if (socket === undefined) return;
    this.#connections.delete(lease);
    this.#bound.get(socket)?.delete(lease);
  }

  #watch(socket: Duplex): Set<string> {
    const leases = new Set<string>();
    this.#bound.set(socket, leases);
    this.#lasting.add(socket);
    const forget = (): readonly string[] => {
      const ended = [...leases];
      leases.clear();
      for (const lease of ended) this.#connections.delete(lease);
      return ended;
    };
    const closed = (): void => {
      for (const lease of forget()) this.#onClosed(lease);
    };
    // Before the server's own listener, which closes its side, too. Where daxd has closed that
    // first, the other one only follows.
    socket.prependOnceListener('end', () => {
      if (!socket.writableEnded) closed();
    });
    socket.on('error', (error) => {
      if (isOfPeer(error)) closed();
    });
    socket.once('close', forget);
    return leases;
  }
}

/** Closed before anybody looked, in order or by a reset; not where daxd destroyed it. */
function isClosedByHolder(socket: Duplex): boolean {
  return socket.readableEnded || isOfPeer(socket.errored);
}

/** Whether an error of a connection says that the other side is gone. */
function isOfPeer(error: unknown): boolean {
  const code = systemCodeOf(error);
  return code === 'ECONNRESET' || code === 'EPIPE';
}
