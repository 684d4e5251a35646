import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { LeaseControl } from '../control.js';
import type { LeaseTags } from '../lease-tags.js';
import {
  AcknowledgeRecall,
  HolderHeaders,
  IfMatch,
  Lease,
  LeaseParams,
  RevokeLease,
} from '../schemas/lease.js';
import { Problem } from '../schemas/problem.js';

const params = LeaseParams;
const response = { 200: Lease, default: Problem };

/** What the routes about recalls need. */
export interface RecallRoutesOptions {
  readonly leases: LeaseControl;
  readonly tags: LeaseTags;
}

/** Getting a lease back from its holder: its answer to a recall, and taking it away. */
export const recallRoutes: FastifyPluginCallbackTypebox<RecallRoutesOptions> = (
  app,
  { leases, tags },
  done,
) => {
  app.post(
    '/v1/leases/:id/acknowledge',
    {
      schema: {
        operationId: 'acknowledgeRecall',
        summary: 'say how long it takes to give back what is asked for',
        params,
        headers: HolderHeaders,
        body: AcknowledgeRecall,
        response,
      },
    },
    ({ params: { id }, headers, body }, reply) => {
      const check = tags.checkOf(headers['if-match']);
      return tags.show(leases.acknowledge(id, body.estimate_ms, check), reply);
    },
  );

  app.post(
    '/v1/leases/:id/revoke',
    {
      schema: {
        operationId: 'revokeLease',
        summary: 'take it from its holder; without proof its pages stay pinned, in quarantine',
        params,
        headers: IfMatch,
        body: RevokeLease,
        response,
      },
    },
    async (request, reply) => {
      const lease = leases.get(request.params.id);
      const check = tags.checkOf(request.headers['if-match']);
      await leases.revocation.revoke(lease, request.body.reason, check);
      return tags.show(lease, reply);
    },
  );
  done();
};
