import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/**
 * Responses that wait for those before them on their connection, as pipelined requests have them.
 * When the connection ends, Node tells the one whose turn it is; these tell the others, so that
 * whoever waits for `close` gives up what nobody hears the end of.
 */
export class QueuedResponses {
  readonly #queues = new WeakMap<Duplex, Set<ServerResponse>>();
  readonly #waitingMax: number;

  /** @param waitingMax how many may wait on one connection: each costs memory, and one in front a long poll's time. */
  constructor(waitingMax: number) {
    this.#waitingMax = waitingMax;
  }

  /**
   * Watches a response from its start on; nothing is to be done for one whose turn it is. A
   * connection on which too many wait is cut.
   */
  watch(socket: Duplex, response: ServerResponse): void {
    if (response.socket !== null) return;
    const queue = this.#queues.get(socket) ?? this.#queueOf(socket);
    queue.add(response);
    response.once('close', () => queue.delete(response));
    if (queue.size > this.#waitingMax) socket.destroy();
  }

  #queueOf(socket: Duplex): Set<ServerResponse> {
    const queue = new Set<ServerResponse>();
    this.#queues.set(socket, queue);
    socket.once('close', () => {
      for (const response of queue) closeUnsent(response);
    });
    return queue;
  }
}

function closeUnsent(response: ServerResponse): void {
  if (response.destroyed) return;
  response.destroy();
  response.emit('close');
}
