import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply } from 'fastify';
import { Type } from 'typebox';

import type { LeaseControl } from '../control.js';
import { matchesEtag } from '../etag.js';
import type { LeaseTags } from '../lease-tags.js';
import {
  HolderHeaders,
  IfNoneMatch,
  Lease,
  LeaseParams,
  NotModified,
  ReleaseLease,
} from '../schemas/lease.js';
import { Nothing } from '../schemas/partition.js';
import { Problem } from '../schemas/problem.js';

/** What the routes about one lease need. */
export interface LeaseRoutesOptions {
  readonly leases: LeaseControl;
  readonly tags: LeaseTags;
}

const params = LeaseParams;
const response = { 200: Lease, default: Problem };
const look = {
  operationId: 'getLease',
  summary: 'never renews',
  params,
  headers: IfNoneMatch,
  response: { ...response, 304: NotModified },
};
/** Of a call of its holder. */
const held = { params, headers: HolderHeaders, response };

/** One lease: look at it, keep it, give it back. */
export const leaseRoutes: FastifyPluginCallbackTypebox<LeaseRoutesOptions> = (
  app,
  { leases, tags },
  done,
) => {
  app.get('/v1/leases/:id', { schema: look }, (request, reply) => {
    const lease = leases.get(request.params.id);
    const view = tags.show(lease, reply);
    const isKnown = matchesEtag(request.headers['if-none-match'], tags.of(lease, view));
    return isKnown ? notModified(reply) : view;
  });

  app.post(
    '/v1/leases/:id/renew',
    {
      schema: {
        operationId: 'renewLease',
        ...held,
        body: Nothing,
      },
    },
    (request, reply) => {
      const check = tags.checkOf(request.headers['if-match']);
      return tags.show(leases.renew(request.params.id, check), reply);
    },
  );

  app.post(
    '/v1/leases/:id/release',
    {
      schema: {
        operationId: 'releaseLease',
        ...held,
        body: ReleaseLease,
      },
    },
    async ({ params: { id }, headers, body }, reply) => {
      const lease = await leases.release(id, body.ranges, tags.checkOf(headers['if-match']));
      return tags.show(lease, reply);
    },
  );

  app.delete(
    '/v1/leases/:id',
    {
      schema: {
        operationId: 'deleteLease',
        summary: 'release all of it; again does nothing',
        ...held,
        response: { 204: Type.Null(), default: Problem },
      },
    },
    async ({ params: { id }, headers }, reply) => {
      await leases.release(id, undefined, tags.checkOf(headers['if-match']));
      void reply.code(204);
      return null;
    },
  );
  done();
};

/** A null would be given a length, that of its text. */
function notModified(reply: FastifyReply): void {
  void reply.code(304).send();
}
