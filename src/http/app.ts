import type { IncomingMessage } from 'node:http';

import swagger from '@fastify/swagger';
import { fastify } from 'fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import { batchAnswers } from './answer-batches.js';
import { authorise } from './authorisation.js';
import { limitBodyTime } from './body-time.js';
import type { Callers } from './callers.js';
import type { Control } from './control.js';
import type { EventStreams } from './event-streams.js';
import { refuse } from './error-handler.js';
import type { HostGuard } from './host-guard.js';
import { LeaseTags } from './lease-tags.js';
import { measureRequests } from './measure-requests.js';
import { openApiOptions } from './openapi.js';
import { HttpRefusal } from './problem.js';
import type { RequestLatencies } from './request-latencies.js';
import { checkQuery, parseStrictJson } from './request-text.js';
import { addRouteHook } from './route-hook.js';
import { deviceRoutes } from './routes/device.js';
import { eventRoutes } from './routes/events.js';
import { filesystemRoutes } from './routes/filesystems.js';
import { layoutChangeRoutes } from './routes/layout-changes.js';
import { leaseRoutes } from './routes/lease.js';
import { recallRoutes } from './routes/recalls.js';
import { LeaseConnections } from './lease-connections.js';
import { bindRoute } from './routes/bind.js';
import { leasesRoutes } from './routes/leases.js';
import { monitoringRoutes } from './routes/monitoring.js';
import type { MetricsPage } from './routes/monitoring.js';
import { nameRoutes } from './routes/names.js';
import { nbdRoutes } from './routes/nbd.js';
import { nodeRoutes } from './routes/nodes.js';
import { operationRoutes } from './routes/operations.js';
import { partitionRoutes } from './routes/partitions.js';
import { quarantineRoutes } from './routes/quarantine.js';
import { readFileRoutes } from './routes/read-files.js';
import { seekRoutes } from './routes/seek.js';
import { shiftRangeRoutes } from './routes/shift-ranges.js';
import { statRoutes } from './routes/stat.js';
import { writeFileRoutes } from './routes/write-files.js';
import { changeXattrRoutes, readXattrRoutes } from './routes/xattrs.js';
import { compileWhenCalled } from './schema-compilers.js';
import { addSchemaRules, describeViolation } from './schema-rules.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The call changes something or starts a lease, so a draining daemon refuses it. */
    change?: boolean;
  }
}

/** What the HTTP interface is made from. */
export interface HttpOptions {
  readonly control: Control;
  readonly guard: HostGuard;
  readonly callers: Callers;
  /** Takes note of each connection that leases end with. */
  readonly lastingConnections: WeakSet<object>;
  readonly latencies: RequestLatencies;
  readonly events: EventStreams;
  readonly metrics: () => Promise<MetricsPage>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly version: string;
  /** Told of what is neither the client's fault nor foreseen: a broken invariant above all. */
  readonly onFatal: (error: Error) => void;
  readonly limits: {
    readonly jsonBodyBytesMax: number;
    readonly bodyTimeoutMs: number;
    readonly writeChunkBytes: number;
  };
}

/** Bytes of a percent-encoded name: the head of a request has 16 KiB at most. */
const PARAM_LENGTH_MAX = 16 * 1024;

/**
 * The routes, ready to be called through `routing` by the listeners. It never listens itself:
 * there may be several addresses.
 */
export async function buildHttp(options: HttpOptions): Promise<FastifyInstance> {
  const { clock, control, events, guard, limits } = options;
  const onError = (error: Error, request: FastifyRequest, reply: FastifyReply): FastifyReply =>
    refuse(error, request, reply, options);
  const app = fastify({
    bodyLimit: limits.jsonBodyBytesMax,
    requestIdHeader: false,
    routerOptions: { maxParamLength: PARAM_LENGTH_MAX },
    schemaErrorFormatter: describeViolation,
    // A target that is not percent-encoded UTF-8 fails before there is a route.
    frameworkErrors: (error, request, reply) => {
      void onError(error, request, reply);
    },
  });

  // What is refused below is counted, too.
  measureRequests(app, options.latencies, clock);
  app.addHook('onRequest', (request, _reply, done) => {
    guard.check(request.raw);
    checkExpectation(request.raw);
    checkQuery(request.raw);
    done();
  });
  authorise(app, { callers: options.callers, leases: control.leases });
  refuseUnknownPaths(app);
  batchAnswers(app);
  refuseWhileDraining(app, control);
  limitBodyTime(app, options);
  compileWhenCalled(app);
  addSchemaRules(app);
  parseStrictJson(app);
  app.setErrorHandler(onError);

  const tags = new LeaseTags(control.leases, events.incarnation);
  await app.register(swagger, openApiOptions(options.version));
  await app.register(deviceRoutes, { control });
  await app.register(partitionRoutes, { control });
  await app.register(filesystemRoutes, { control });
  await app.register(readFileRoutes, { control });
  await app.register(writeFileRoutes, { control, writeChunkBytes: limits.writeChunkBytes });
  await app.register(statRoutes, { control });
  await app.register(seekRoutes, { control });
  await app.register(readXattrRoutes, { control });
  await app.register(changeXattrRoutes, { control });
  await app.register(nameRoutes, { control });
  await app.register(nodeRoutes, { control });
  await app.register(layoutChangeRoutes, { control, clock });
  await app.register(shiftRangeRoutes, { control, clock });
  const { callers, lastingConnections } = options;
  const connections = new LeaseConnections(callers, lastingConnections, (lease) => {
    void control.leases.revocation.proven(lease, 'connection closed');
  });
  control.leases.onEnded((lease) => {
    connections.forget(lease);
  });
  await app.register(leasesRoutes, { control, callers, connections, events, tags });
  await app.register(bindRoute, { leases: control.leases, connections, tags });
  await app.register(leaseRoutes, { leases: control.leases, tags });
  await app.register(recallRoutes, { leases: control.leases, tags });
  await app.register(nbdRoutes, { control });
  await app.register(operationRoutes, { control, events });
  await app.register(eventRoutes, { control, events });
  await app.register(quarantineRoutes, { control });
  await app.register(monitoringRoutes, { control, metrics: options.metrics });
  await app.ready();
  return app;
}

/** Refuses the routes that change something once the daemon is going down. */
/** Ahead of a body, which would be waited for without a bound: that belongs to a route. */
function refuseUnknownPaths(app: FastifyInstance): void {
  app.addHook('onRequest', ({ is404, method, url }, _reply, done) => {
    if (is404) {
      const [path = ''] = url.split('?', 1);
      throw new DaxdError('ENOENT', `there is no ${method} ${path}: see /openapi.json`);
    }
    done();
  });
}

function refuseWhileDraining(app: FastifyInstance, control: Control): void {
  app.addHook('onRoute', (route) => {
    if (route.config?.change !== true) return;
    addRouteHook(route, (_request, _reply, done) => {
      if (!control.draining) done();
      else
        throw new DaxdError(
          'draining',
          'daxd is shutting down: it takes no new leases and changes',
        );
    });
  });
}

/** Node answers 100-continue itself; there is nothing else that can be expected. */
function checkExpectation({ headers: { expect } }: IncomingMessage): void {
  if (expect === undefined || expect.toLowerCase() === '100-continue') return;
  throw new HttpRefusal({
    status: 417,
    code: 'EINVAL',
    message: `Expect ${JSON.stringify(expect)} is not known: 100-continue is`,
  });
}
