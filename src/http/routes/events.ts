import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import { DaxdError } from '../../lib/errno.js';
import type { RingEvent } from '../../lib/event-ring.js';
import type { Control } from '../control.js';
import type { EventStreams } from '../event-streams.js';
import { EventHeaders, EventQuery, EventStream } from '../schemas/event.js';

/** What the routes about events need. */
export interface EventRoutesOptions {
  readonly control: Control;
  readonly events: EventStreams;
}

/** What happens to leases and operations, as it happens. */
export const eventRoutes: FastifyPluginCallbackTypebox<EventRoutesOptions> = (
  app,
  { control, events },
  done,
) => {
  /** Connections that are a stream now. */
  const streaming = new WeakSet<object>();

  app.get(
    '/v1/events',
    {
      // A stream has no length to tell and no end to wait for.
      exposeHeadRoute: false,
      schema: {
        operationId: 'watchEvents',
        summary: 'server-sent events: lease.*, operation.*, recall, resync',
        querystring: EventQuery,
        headers: EventHeaders,
        response: { 200: EventStream },
      },
    },
    (request, reply) => {
      if (control.draining) {
        throw new DaxdError('draining', 'daxd is shutting down: it sends no more events');
      }
      const { socket } = request.raw;
      if (streaming.has(socket)) {
        throw new DaxdError(
          'EBUSY',
          'this connection is a stream of events already, which has no end: open another one',
        );
      }
      streaming.add(socket);
      reply.raw.once('close', () => streaming.delete(socket));
      const { since, lease, client } = request.query;
      const cursor = request.headers['last-event-id'] ?? since;
      // From here on the connection is the stream's: Fastify neither answers nor waits.
      reply.hijack();
      reply.raw.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
      });
      events.open(reply.raw, { cursor, isWanted: wanted(lease, client) });
    },
  );
  done();
};

/** Which events a filter lets pass: with one, only those that are about a lease. */
function wanted(
  lease: string | undefined,
  client: string | undefined,
): (event: RingEvent) => boolean {
  return ({ fields }) =>
    (lease === undefined || fields['lease'] === lease) &&
    (client === undefined || fields['client'] === client);
}
