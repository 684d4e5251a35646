import { DaxdError } from '../lib/errno.js';
import type { Address } from '../lib/listen.js';

/** Where daxd takes calls of clients. */
export type ListenAddress = Address;

const TCP_ADDRESS = /^(\[[0-9a-fA-F:.]+\]|[^:[\]/\s]+):(\d{1,5})$/;
const LOOPBACK_V4 = /^127(\.\d{1,3}){3}$/;
const PORT_MAX = 65535;
/** Bytes of sun_path in struct sockaddr_un, less its final NUL. */
const UNIX_PATH_BYTES_MAX = 107;

/**
 * Reads `127.0.0.1:8470`, `[::1]:8470`, `localhost:8470` or `unix:/path`; port 0 takes a free
 * one.
 *
 * @param option where the text stood, for messages.
 * @throws DaxdError EINVAL when it is none of these.
 */
export function parseListenAddress(text: string, option: string): ListenAddress {
  return text.startsWith('unix:') ? parseUnix(text, option) : parseTcp(text, option);
}

/** Whether clients reach an address from other machines. */
export function isRemote(address: ListenAddress): boolean {
  return address.kind === 'tcp' && !isLoopback(address.host);
}

function parseUnix(text: string, option: string): ListenAddress {
  const path = text.slice('unix:'.length);
  const bytes = Buffer.byteLength(path);
  if (bytes === 0 || bytes > UNIX_PATH_BYTES_MAX || path.includes('\0')) {
    throw new DaxdError(
      'EINVAL',
      `${option} "${text}": the path of a Unix socket has 1 to ${UNIX_PATH_BYTES_MAX} bytes, this one ${bytes}`,
    );
  }
  return { kind: 'unix', path };
}

function parseTcp(text: string, option: string): ListenAddress {
  const match = TCP_ADDRESS.exec(text);
  const host = (match?.[1] ?? '').replace(/^\[|\]$/g, '');
  const port = Number(match?.[2] ?? NaN);
  if (!(port <= PORT_MAX)) {
    throw new DaxdError(
      'EINVAL',
      `${option} "${text}" is not an address: give HOST:PORT such as 127.0.0.1:8470, or unix:/path`,
    );
  }
  return { kind: 'tcp', host, port };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || LOOPBACK_V4.test(host);
}
