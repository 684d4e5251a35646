import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';

import { assert } from '../lib/assert.js';
import { type Address, hostAndPort, listenOn } from '../lib/listen.js';
import type { TlsState } from './negotiation.js';
import { duplicate, makeBlocking } from './socket-calls.js';

/** An address of NBD clients, and how they come under TLS there. */
export interface NbdAddress {
  readonly address: Address;
  /** Whether clients come from other machines. */
  readonly remote: boolean;
}

/** One address that NBD clients connect to. It hands each connection on as a descriptor. */
export class NbdListener {
  /** `nbd+unix:///?socket=/path`, `nbd://127.0.0.1:10809`; `nbds://` where all must come under TLS. */
  readonly uri: string;
  readonly #server: Server;

  private constructor(server: Server, address: Address, tls: TlsState) {
    this.#server = server;
    this.uri = uriOf(address, tls);
  }

  /**
   * Starts to listen.
   *
   * @param accept given a descriptor that waits in its calls, and that it closes.
   * @throws DaxdError as `listenOn` does.
   */
  static async open(
    address: Address,
    tls: TlsState,
    accept: (fd: number, listener: NbdListener) => void,
  ): Promise<NbdListener> {
    // Not a byte is read here: what the client sends first is the worker's.
    const server = createServer({ pauseOnConnect: true, noDelay: true });
    const listener = new NbdListener(server, await listenOn(server, address, '--nbd'), tls);
    server.on('connection', (socket) => {
      const fd = duplicate(descriptorOf(socket));
      // This closes Node's descriptor; the connection lives on with the other.
      socket.destroy();
      if (fd < 0) return;
      makeBlocking(fd);
      accept(fd, listener);
    });
    return listener;
  }

  /** Takes no new connections. */
  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    await closed;
  }
}

/** The descriptor of a socket, which Node does not give away: its handle has it. */
function descriptorOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle');
  const fd: unknown =
    typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  assert(typeof fd === 'number' && fd >= 0, 'an accepted socket has a descriptor');
  return fd;
}

function uriOf(address: Address, tls: TlsState): string {
  const scheme = tls === 'required' ? 'nbds' : 'nbd';
  if (address.kind === 'tcp') return `${scheme}://${hostAndPort(address)}`;
  const path = address.path.split('/').map(encodeURIComponent).join('/');
  return `${scheme}+unix:///?socket=${path}`;
}
