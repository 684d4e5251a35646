import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { LeaseControl } from '../control.js';
import type { LeaseConnections } from '../lease-connections.js';
import type { LeaseTags } from '../lease-tags.js';
import { Lease, LeaseParams, SecretHeader } from '../schemas/lease.js';
import { Nothing } from '../schemas/partition.js';
import { Problem } from '../schemas/problem.js';

/** What the route needs. */
export interface BindRouteOptions {
  readonly leases: LeaseControl;
  readonly connections: LeaseConnections;
  readonly tags: LeaseTags;
}

/** Has a lease end with a connection. */
export const bindRoute: FastifyPluginCallbackTypebox<BindRouteOptions> = (
  app,
  { leases, connections, tags },
  done,
) => {
  app.post(
    '/v1/leases/:id/bind',
    {
      schema: {
        operationId: 'bindLease',
        summary: 'end it when this connection ends; to be said anew after a restart',
        params: LeaseParams,
        headers: SecretHeader,
        body: Nothing,
        response: { 200: Lease, default: Problem },
      },
    },
    (request, reply) => {
      const lease = leases.kept(request.params.id);
      connections.check(request.raw);
      connections.bind(request.raw, reply.raw, lease.id);
      return tags.show(lease, reply);
    },
  );
  done();
};
