import { request } from 'node:http';
import type { ClientRequest, RequestOptions } from 'node:http';

/**
 * How to reach a daemon at `http://host:port`, `https://host:port` or `unix:/path`.
 *
 * @throws TypeError for anything else.
 */
export function targetOf(url: string): RequestOptions {
  if (url.startsWith('unix:')) {
    const socketPath = url.slice('unix:'.length);
    // Without a path the call would go to port 80 of this host.
    if (socketPath === '') throw new TypeError('unix: has no path behind it');
    // The guard of the daemon asks for a name of its own.
    return { socketPath, host: 'localhost' };
  }
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== 'http:' && protocol !== 'https:') {
    throw new TypeError(`${url} is neither http(s)://host:port nor unix:/path`);
  }
  const host = hostname.replace(/^\[|\]$/g, '');
  return { protocol, host, ...(port !== '' && { port: Number(port) }) };
}

/** Most daemons are called without TLS, whose modules take their time to load. */
export async function requestFor({
  protocol,
}: RequestOptions): Promise<(options: RequestOptions) => ClientRequest> {
  return protocol === 'https:' ? (await import('node:https')).request : request;
}
