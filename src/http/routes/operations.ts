import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { Control } from '../control.js';
import { abortOnDisconnect } from '../disconnect.js';
import type { EventStreams } from '../event-streams.js';
import { isSortableId } from '../../lib/sortable-id.js';
import { pageOf, unknownCursor } from '../page.js';
import { Operation, OperationList, OperationParams, OperationQuery } from '../schemas/operation.js';
import { PageQuery } from '../schemas/values.js';
import { Problem } from '../schemas/problem.js';

const params = OperationParams;
const response = { 200: Operation, default: Problem };

/** What the routes about operations need. */
export interface OperationRoutesOptions {
  readonly control: Control;
  readonly events: Pick<EventStreams, 'cursor'>;
}

/** What waits for pinned pages, and for whose. */
export const operationRoutes: FastifyPluginCallbackTypebox<OperationRoutesOptions> = (
  app,
  { control, events },
  done,
) => {
  app.get(
    '/v1/operations',
    {
      schema: {
        operationId: 'listOperations',
        querystring: PageQuery,
        response: { 200: OperationList, default: Problem },
      },
    },
    (request) => {
      const { cursor, limit } = request.query;
      if (cursor !== undefined && !isSortableId(cursor)) throw unknownCursor(cursor);
      const waiting = control.operations(cursor ?? '');
      const { items, nextCursor } = pageOf(waiting, limit, holdersNamed);
      return {
        operations: [...items],
        ...(nextCursor !== undefined && { next_cursor: nextCursor }),
        events_cursor: events.cursor,
      };
    },
  );

  app.get(
    '/v1/operations/:id',
    {
      schema: {
        operationId: 'getOperation',
        summary: 'with wait_ms a long poll: answers when the operation ends, or after that time',
        params,
        querystring: OperationQuery,
        response,
      },
    },
    (request, reply) =>
      control.operation(request.params.id, request.query.wait_ms ?? 0, abortOnDisconnect(reply)),
  );

  app.delete(
    '/v1/operations/:id',
    {
      schema: {
        operationId: 'cancelOperation',
        summary:
          'end its wait, and answer when it has ended; the file stays as it is. Once the wait is over, it goes to its end',
        params,
        response,
      },
    },
    (request, reply) => control.cancelOperation(request.params.id, abortOnDisconnect(reply)),
  );
  done();
};

function holdersNamed({ blocked_by: holders }: Operation): number {
  return holders.length;
}
