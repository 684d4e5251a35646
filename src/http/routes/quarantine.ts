import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { Control } from '../control.js';
import { pageOf } from '../page.js';
import { PageQuery } from '../schemas/values.js';
import { Problem } from '../schemas/problem.js';
import { Attest, Attested, QuarantineList, QuarantineParams } from '../schemas/quarantine.js';

/** Pages that left their files while they were lent: which, and letting them go. */
export const quarantineRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
  app,
  { control },
  done,
) => {
  app.get(
    '/v1/quarantine',
    {
      schema: {
        operationId: 'listQuarantine',
        querystring: PageQuery,
        response: { 200: QuarantineList, default: Problem },
      },
    },
    (request) => {
      const { cursor, limit } = request.query;
      const { items, nextCursor } = pageOf(control.quarantine(cursor), limit);
      return {
        quarantine: [...items],
        ...(nextCursor !== undefined && { next_cursor: nextCursor }),
      };
    },
  );

  app.post(
    '/v1/quarantine/:id/attest',
    {
      schema: {
        operationId: 'attestQuarantine',
        summary: "free it on the caller's word that no device stores there any more",
        params: QuarantineParams,
        body: Attest,
        response: { 200: Attested, default: Problem },
      },
    },
    async (request, _reply) => {
      const { id } = request.params;
      const { reason } = request.body;
      await control.attest(id, reason);
      return { id, reason };
    },
  );
  done();
};
