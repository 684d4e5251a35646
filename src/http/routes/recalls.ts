import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { LeaseControl } from '../control.js';
import { AcknowledgeRecall, Lease, LeaseParams, RevokeLease } from '../schemas/lease.js';
import { Problem } from '../schemas/problem.js';

const params = LeaseParams;
const response = { 200: Lease, default: Problem };

/** Getting a lease back from its holder: its answer to a recall, and taking it away. */
export const recallRoutes: FastifyPluginCallbackTypebox<{ readonly leases: LeaseControl }> = (
  app,
  { leases },
  done,
) => {
  app.post(
    '/v1/leases/:id/acknowledge',
    {
      schema: {
        operationId: 'acknowledgeRecall',
        summary: 'say how long it takes to give back what is asked for',
        params,
        body: AcknowledgeRecall,
        response,
      },
    },
    (request) => leases.view(leases.acknowledge(request.params.id, request.body.estimate_ms)),
  );

  app.post(
    '/v1/leases/:id/revoke',
    {
      schema: {
        operationId: 'revokeLease',
        summary: 'take it from its holder; without proof its pages stay pinned, in quarantine',
        params,
        body: RevokeLease,
        response,
      },
    },
    async (request, _reply) => {
      const lease = leases.get(request.params.id);
      await leases.revocation.revoke(lease, request.body.reason);
      return leases.view(lease);
    },
  );
  done();
};
