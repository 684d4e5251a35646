import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/**
 * Responses that wait for those before them on their connection, as pipelined requests have them.
 * When the connection ends, Node tells the one whose turn it is; these tell the others, so that
 * whoever waits for `close` gives up what nobody hears the end of.
 */
export class QueuedResponses {
  readonly #queues = new WeakMap<Duplex, Set<ServerResponse>>();

  /** Watches a response from its start on; nothing is to be done for one whose turn it is. */
  watch(socket: Duplex, response: ServerResponse): void {
    if (response.socket !== null) return;
    const queue = this.#queues.get(socket) ?? this.#queueOf(socket);
    queue.add(response);
    response.once('close', () => queue.delete(response));
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
