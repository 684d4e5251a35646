import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { Control } from '../control.js';
import { abortOnDisconnect } from '../disconnect.js';
import type { EventStreams } from '../event-streams.js';
import { Operation, OperationList, OperationParams, OperationQuery } from '../schemas/operation.js';
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
      schema: { operationId: 'listOperations', response: { 200: OperationList, default: Problem } },
    },
    () => ({ operations: control.operations(), events_cursor: events.cursor }),
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
