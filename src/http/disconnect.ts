import type { FastifyReply } from 'fastify';

/**
 * A signal that aborts when the connection ends before the answer is out: whoever waits for
 * pinned pages then gives up and leaves the file as it was.
 */
export function abortOnDisconnect(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  const { raw } = reply;
  raw.once('close', () => {
    if (!raw.writableEnded) controller.abort();
  });
  // It may have closed before anybody listened.
  if (raw.destroyed) controller.abort();
  return controller.signal;
}
