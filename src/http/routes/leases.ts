import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { Control } from '../control.js';
import type { EventStreams } from '../event-streams.js';
import { abortOnDisconnect } from '../disconnect.js';
import { pathFromText } from '../file-path.js';
import { newLeaseSecret } from '../lease-secret.js';
import { AcquireLease, GrantedLease, LeaseList, LeaseQuery } from '../schemas/lease.js';
import { Problem } from '../schemas/problem.js';

/** What the routes about all leases need. */
export interface LeasesRoutesOptions {
  readonly control: Control;
  readonly events: Pick<EventStreams, 'cursor'>;
}

/** Leases: ranges that clients pin for DMA. */
export const leasesRoutes: FastifyPluginCallbackTypebox<LeasesRoutesOptions> = (
  app,
  { control, events },
  done,
) => {
  const { leases } = control;

  app.post(
    '/v1/leases',
    {
      config: { change: true },
      schema: {
        operationId: 'acquireLease',
        summary: 'pin a range of a file, or without path of a raw, unmounted partition',
        body: AcquireLease,
        response: { 201: GrantedLease, default: Problem },
      },
    },
    async (request, reply) => {
      const { partition, path, offset, length, access, client, pid } = request.body;
      const { secret, secretHash } = newLeaseSecret();
      const asked = {
        partition,
        path: path === undefined ? undefined : pathFromText(path),
        offset,
        length,
        access,
        ttlMs: request.body.ttl_ms,
        waitMs: request.body.wait_ms,
        client,
        secretHash,
        pid,
        pidStart: request.body.pid_start,
      };
      const mayWait = access === 'write' || asked.waitMs !== undefined;
      const signal = mayWait ? abortOnDisconnect(reply) : undefined;
      const lease = await leases.acquire(asked, signal);
      // Nobody will hear of a lease granted to a client that is gone: give it back.
      if (reply.raw.destroyed) await leases.release(lease.id);
      void reply.code(201).header('location', `/v1/leases/${lease.id}`);
      return { ...leases.view(lease), secret };
    },
  );

  app.get(
    '/v1/leases',
    {
      schema: {
        operationId: 'listLeases',
        querystring: LeaseQuery,
        response: { 200: LeaseList, default: Problem },
      },
    },
    (request) => {
      const { path, ...filter } = request.query;
      const page = leases.list({
        ...filter,
        ...(path !== undefined && { path: pathFromText(path) }),
      });
      return {
        leases: page.leases.map((lease) => leases.view(lease)),
        ...(page.nextCursor !== undefined && { next_cursor: page.nextCursor }),
        events_cursor: events.cursor,
      };
    },
  );
  done();
};
