import type { ServerResponse } from 'node:http';

import type { FastifyInstance } from 'fastify';

import type { Clock } from '../lib/clock.js';
import { STATUS_CLIENT_GONE } from './problem.js';
import type { RequestLatencies, RouteLatencies } from './request-latencies.js';

/** What a request that met no route counts under: paths are no labels. */
const NO_ROUTE = 'none';
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS']);

/** Takes the time of each request, to the last byte of its answer or the end of its connection. */
export function measureRequests(
  app: FastifyInstance,
  latencies: RequestLatencies,
  clock: Clock,
): void {
  const ofRoutes = new Map<string, Map<string, RouteLatencies>>();
  app.addHook('onRoute', (route) => {
    const response: object = route.schema?.response ?? {};
    const codes = Object.keys(response).map(Number).filter(Number.isInteger);
    const ofMethods = ofRoutes.get(route.url) ?? new Map<string, RouteLatencies>();
    ofRoutes.set(route.url, ofMethods);
    for (const method of [route.method].flat()) {
      const ofRoute = latencies.ofRoute(route.url, method);
      for (const code of codes.length > 0 ? codes : [200]) ofRoute.declare(code);
      ofMethods.set(method, ofRoute);
    }
  });

  app.addHook('onRequest', ({ method, routeOptions, is404 }, reply, done) => {
    const ofMethods = is404 ? undefined : ofRoutes.get(routeOptions.url ?? '');
    const ofRoute = ofMethods?.get(method) ?? latencies.ofRoute(NO_ROUTE, methodLabel(method));
    measure(reply.raw, ofRoute, clock);
    done();
  });
}

function methodLabel(method: string): string {
  return METHODS.has(method) ? method : 'other';
}

function measure(raw: ServerResponse, latencies: RouteLatencies, clock: Clock): void {
  const startMs = clock.nowMs();
  // It comes once, after the last byte or when the connection ended before an answer.
  raw.on('close', () => {
    const code = raw.writableEnded ? raw.statusCode : STATUS_CLIENT_GONE;
    latencies.observe(code, (clock.nowMs() - startMs) / 1000);
  });
}
