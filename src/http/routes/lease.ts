import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import type { ByteRange } from '../../lease/byte-ranges.js';
import type { RecalledView } from '../../lease/recalls.js';
import type { LeaseControl } from '../control.js';
import { Lease, LeaseParams, ReleaseLease } from '../schemas/lease.js';
import { Nothing } from '../schemas/partition.js';
import { Problem } from '../schemas/problem.js';

const params = LeaseParams;
const response = { 200: Lease, default: Problem };

async function releasedView(
  leases: LeaseControl,
  id: string,
  ranges: readonly ByteRange[] | undefined,
): Promise<RecalledView> {
  const lease = await leases.release(id, ranges);
  return leases.view(lease);
}

/** One lease: look at it, keep it, give it back. */
export const leaseRoutes: FastifyPluginCallbackTypebox<{ readonly leases: LeaseControl }> = (
  app,
  { leases },
  done,
) => {
  app.get(
    '/v1/leases/:id',
    { schema: { operationId: 'getLease', summary: 'never renews', params, response } },
    (request) => leases.view(leases.get(request.params.id)),
  );

  app.post(
    '/v1/leases/:id/renew',
    { schema: { operationId: 'renewLease', params, body: Nothing, response } },
    (request) => leases.view(leases.renew(request.params.id)),
  );

  app.post(
    '/v1/leases/:id/release',
    { schema: { operationId: 'releaseLease', params, body: ReleaseLease, response } },
    (request) => releasedView(leases, request.params.id, request.body.ranges),
  );

  app.delete(
    '/v1/leases/:id',
    {
      schema: {
        operationId: 'deleteLease',
        summary: 'release all of it; again does nothing',
        params,
        response: { 204: Type.Null(), default: Problem },
      },
    },
    async (request, reply) => {
      await leases.release(request.params.id);
      void reply.code(204);
      return null;
    },
  );
  done();
};
