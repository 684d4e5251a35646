import { once } from 'node:events';
import type { Stats } from 'node:fs';
import { chmod, stat, unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { dirname } from 'node:path';

import { DaxdError, systemCodeOf } from './errno.js';
import type { ErrorCode } from './errno.js';

/** Where to listen. */
export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** Where to listen, and what chose it, such as `--listen`. */
export interface ChosenAddress {
  readonly address: Address;
  readonly option: string;
}

const SOCKET_MODE = 0o660;

/** What a failure to listen is in daxd's words. */
const FAILURES: Readonly<Record<string, { code: ErrorCode; advice: string } | undefined>> = {
  EADDRINUSE: { code: 'EBUSY', advice: 'stop who listens there, or give another' },
  EACCES: { code: 'EACCES', advice: 'run daxd as a user who may, or give another' },
};

/**
 * Listens on all addresses at once, and on none when this settles: what cannot be had is found
 * before anything is begun that a failure would leave half done.
 *
 * @throws DaxdError as {@link listenOn} does.
 */
export async function checkAddresses(chosen: readonly ChosenAddress[]): Promise<void> {
  const servers: Server[] = [];
  try {
    for (const { address, option } of chosen) {
      const server = createServer((socket) => socket.destroy());
      await listenOn(server, address, option);
      servers.push(server);
    }
  } finally {
    for (const server of servers) {
      const closed = once(server, 'close');
      server.close();
      await closed;
    }
  }
}

/**
 * Starts to listen; a Unix socket has mode 0660. The socket file of a process that is gone is
 * replaced.
 *
 * @param option what chose the address, such as `--listen`; for messages.
 * @returns where it listens: the port is the one that was taken where 0 was asked for.
 * @throws DaxdError EBUSY when somebody listens there already, EEXIST when a file that is no
 *   socket is in the way, ENOENT when its directory is not there, EACCES when this user may not,
 *   EINVAL when it cannot be listened on.
 */
export async function listenOn(server: Server, address: Address, option: string): Promise<Address> {
  if (address.kind === 'unix') {
    await checkDirectory(address.path, option);
    await removeDeadSocket(address.path, option);
  }
  const where = address.kind === 'tcp' ? `${address.host}:${address.port}` : address.path;
  try {
    const listening = once(server, 'listening');
    if (address.kind === 'tcp') server.listen({ host: address.host, port: address.port });
    else listenOnPath(server, address.path);
    await listening;
    // Where the directory has a default ACL, that stands in the place of the mask.
    if (address.kind === 'unix') await chmod(address.path, SOCKET_MODE);
  } catch (cause) {
    const name = systemCodeOf(cause);
    const { code, advice } = FAILURES[name ?? ''] ?? { code: 'EINVAL', advice: 'give another' };
    const message = `cannot listen on ${where}: ${name ?? String(cause)}: ${advice} ${option}`;
    throw new DaxdError(code, message, { cause });
  }
  return boundAddress(server, address);
}

/** The socket is made within `listen`: under any other mask some could connect before its mode is set. */
function listenOnPath(server: Server, path: string): void {
  const mask = process.umask(0o777 & ~SOCKET_MODE);
  try {
    server.listen({ path });
  } finally {
    process.umask(mask);
  }
}

/** `127.0.0.1:8470`, `[::1]:8470`. */
export function hostAndPort({ host, port }: { host: string; port: number }): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function boundAddress(server: Server, address: Address): Address {
  const bound = server.address();
  const isTcp = address.kind === 'tcp' && typeof bound === 'object' && bound !== null;
  return isTcp ? { ...address, port: bound.port } : address;
}

/** Node tells of a directory that is not there as of one that may not be written. */
async function checkDirectory(path: string, option: string): Promise<void> {
  const directory = dirname(path);
  if ((await statOrUndefined(directory)) !== undefined) return;
  const message = `cannot listen on ${path}: create ${directory} first, or give another ${option}`;
  throw new DaxdError('ENOENT', message);
}

/** @throws DaxdError EBUSY when somebody answers there; EEXIST when it is no socket. */
async function removeDeadSocket(path: string, option: string): Promise<void> {
  const found = await statOrUndefined(path);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new DaxdError('EEXIST', `${path} is no socket: give another ${option} or move it away`);
  }
  if (await answers(path)) {
    throw new DaxdError('EBUSY', `somebody listens on ${path}: stop it, or give another ${option}`);
  }
  await unlink(path);
}

async function statOrUndefined(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw new DaxdError('EINVAL', `cannot look at ${path}: ${String(error)}`, { cause: error });
  }
}

/** Whether anybody accepts connections on a Unix socket. */
async function answers(path: string): Promise<boolean> {
  const probe = connect({ path });
  try {
    await once(probe, 'connect');
    return true;
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return false;
    const detail = `cannot tell whether ${path} is in use: ${code ?? String(error)}`;
    throw new DaxdError('EBUSY', detail, { cause: error });
  } finally {
    // Cut short on purpose: what it says then is no news.
    probe.on('error', () => {});
    probe.destroy();
  }
}
