import type { FastifyInstance } from 'fastify';

/**
 * Sends the answers of one turn of the event loop together, at its end, while there are several a
 * turn. The first answer to a client that sleeps in `epoll_wait` wakes it, which costs many times
 * as much as a write to one that is awake: one at a time, each would. Where the turn before had
 * one answer, it goes at once, and so does a stream always.
 */
export function batchAnswers(app: FastifyInstance): void {
  let waiting: (() => void)[] = [];
  let answers = 0;
  let areSeveral = false;
  const endTurn = (): void => {
    const ready = waiting;
    waiting = [];
    areSeveral = answers > 1;
    answers = 0;
    for (const send of ready) send();
  };
  app.addHook('onSend', (_request, _reply, payload, done) => {
    answers++;
    if (answers === 1) setImmediate(endTurn);
    const isWhole = typeof payload === 'string' || payload === null;
    if (areSeveral && isWhole) waiting.push(() => done(null, payload));
    else done(null, payload);
  });
}
