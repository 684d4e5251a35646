import type { IncomingMessage } from 'node:http';

import { DaxdError } from '../lib/errno.js';

/**
 * Keeps web pages out: a page of another site can send requests to a daemon on loopback, by
 * its address or by a name that its owner points there. The browser then says so in Host or
 * in Origin. Host is looked at on TCP alone: no page reaches a Unix socket.
 */
export class HostGuard {
  readonly #hosts: ReadonlySet<string>;
  readonly #unixSockets: WeakSet<object>;
  /** The Host that was taken last: most clients send the same one every time. */
  #lastHost: string | undefined;

  /**
   * @param hosts names and addresses, without ports, under which clients may call.
   * @param unixSockets connections that came in over a Unix socket.
   */
  constructor(hosts: Iterable<string>, unixSockets: WeakSet<object>) {
    this.#hosts = new Set(hosts);
    this.#unixSockets = unixSockets;
  }

  /**
   * @throws DaxdError EACCES when Host or Origin is not daxd's own, EINVAL where HTTP/1.1 asks for a
   *   Host (RFC 9112, section 3.2) and there is none.
   */
  check(message: IncomingMessage): void {
    const { host = '', origin } = message.headers;
    if (message.headers.host === undefined && message.httpVersion !== '1.0') {
      throw new DaxdError('EINVAL', 'the request has no Host');
    }
    if (!this.#unixSockets.has(message.socket) && !this.#knows(host)) {
      throw new DaxdError(
        'EACCES',
        `Host ${JSON.stringify(host)} is not an address of this daemon: use that of --listen, ` +
          'localhost, or a name given with --allow-host',
      );
    }
    if (origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`) {
      throw new DaxdError(
        'EACCES',
        `Origin ${JSON.stringify(origin)} is another site: daxd answers no web pages but its own`,
      );
    }
  }

  #knows(host: string): boolean {
    if (host === this.#lastHost) return true;
    if (!this.#hosts.has(hostName(host))) return false;
    this.#lastHost = host;
    return true;
  }
}

/** The host of a Host header, without its port, in lower case. */
function hostName(host: string): string {
  return host
    .toLowerCase()
    .replace(/:\d*$/, '')
    .replace(/^\[|\]$/g, '');
}
