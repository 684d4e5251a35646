import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';
import type { Static } from 'typebox';

import { hasEnded } from '../../lease/lease-state.js';
import type { LeaseRequest } from '../../lease/lease-request.js';
import type { Lease } from '../../lease/lease.js';
import { isSortableId } from '../../lib/sortable-id.js';
import type { Callers } from '../callers.js';
import type { Control } from '../control.js';
import type { LeaseConnections } from '../lease-connections.js';
import type { EventStreams } from '../event-streams.js';
import { unknownCursor } from '../page.js';
import { abortOnDisconnect } from '../disconnect.js';
import { pathFromText } from '../file-path.js';
import { idempotencyKeyOf, refuseEnded } from '../idempotency-key.js';
import { keyedLeaseSecret, newLeaseSecret } from '../lease-secret.js';
import type { LeaseTags } from '../lease-tags.js';
import {
  AcquireHeaders,
  AcquireLease,
  GrantedLease,
  LeaseList,
  LeaseQuery,
} from '../schemas/lease.js';
import { Problem } from '../schemas/problem.js';

/** What the routes about all leases need. */
export interface LeasesRoutesOptions {
  readonly control: Control;
  readonly callers: Callers;
  readonly connections: LeaseConnections;
  readonly events: Pick<EventStreams, 'cursor'>;
  readonly tags: LeaseTags;
}

/** What a body asks for, its members always in this order. */
function askedFor(body: Static<typeof AcquireLease>): LeaseRequest {
  const { partition, path, offset, length, access, client, pid, cgroup } = body;
  return {
    partition,
    path: path === undefined ? undefined : pathFromText(path),
    offset,
    length,
    access,
    ttlMs: body.ttl_ms,
    waitMs: body.wait_ms,
    client,
    pid,
    pidStart: body.pid_start,
    cgroup,
  };
}

/** One that has ended, as a key may find it, ends with nothing any more. */
function isToBind({ connection }: Static<typeof AcquireLease>, { state }: Lease): boolean {
  return connection === true && !hasEnded(state);
}

/** Leases: ranges that clients pin for DMA. */
export const leasesRoutes: FastifyPluginCallbackTypebox<LeasesRoutesOptions> = (
  app,
  { control, callers, connections, events, tags },
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
        headers: AcquireHeaders,
        body: AcquireLease,
        response: { 201: GrantedLease, default: Problem },
      },
    },
    async (request, reply) => {
      const asked = askedFor(request.body);
      if (request.body.connection === true) connections.check(request.raw);
      const key = idempotencyKeyOf(
        request.headers['idempotency-key'],
        callers.of(request.raw).name,
        asked,
      );
      const { secret, secretHash, secretSalt } = newLeaseSecret(key?.text);
      const mayWait = asked.access === 'write' || asked.waitMs !== undefined;
      const signal = mayWait ? abortOnDisconnect(reply) : undefined;
      // Here and below nothing is spread, which copies member by member.
      const wanted = Object.assign(asked, { secretHash, secretSalt, key: key?.grant });
      const lease = await leases.acquire(wanted, signal);
      // Nobody will hear of a lease granted to a client that is gone, unless it asks again.
      if (reply.raw.destroyed && key === undefined) await leases.release(lease.id);
      if (isToBind(request.body, lease)) connections.bind(request.raw, reply.raw, lease.id);
      void reply.code(201).header('location', `/v1/leases/${lease.id}`);
      if (key === undefined) return Object.assign(tags.show(lease, reply), { secret });
      refuseEnded(lease);
      const again = keyedLeaseSecret(key.text, lease.terms.secretSalt);
      return Object.assign(tags.show(lease, reply), { secret: again.secret });
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
      const { cursor } = filter;
      if (cursor !== undefined && !isSortableId(cursor)) throw unknownCursor(cursor);
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
