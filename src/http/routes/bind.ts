import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { LeaseControl } from '../control.js';
import type { LeaseConnections } from '../lease-connections.js';
import { Lease, LeaseParams } from '../schemas/lease.js';
import { Nothing } from '../schemas/partition.js';
import { Problem } from '../schemas/problem.js';

/** What the route needs. */
export interface BindRouteOptions {
  readonly leases: LeaseControl;
  readonly connections: LeaseConnections;
}

/** Has a lease end with a connection. */
export const bindRoute: FastifyPluginCallbackTypebox<BindRouteOptions> = (
  app,
  { leases, connections },
  done,
) => {
  app.post(
    '/v1/leases/:id/bind',
    {
      schema: {
        operationId: 'bindLease',
        summary: 'end it when this connection ends; to be said anew after a restart',
        params: LeaseParams,
        body: Nothing,
        response: { 200: Lease, default: Problem },
      },
    },
    (request, reply) => {
      const lease = leases.get(request.params.id);
      connections.check(request.raw);
      connections.bind(request.raw, reply.raw, lease.id);
      return leases.view(lease);
    },
  );
  done();
};
