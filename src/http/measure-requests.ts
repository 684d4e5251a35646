import type { FastifyInstance } from 'fastify';

import type { Clock } from '../lib/clock.js';
import { STATUS_CLIENT_GONE } from './problem.js';
import type { RequestLatencies } from './request-latencies.js';

/** What a request that met no route counts under: paths are no labels. */
const NO_ROUTE = 'none';
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS']);

/** Takes the time of each request, to the last byte of its answer or the end of its connection. */
export function measureRequests(
  app: FastifyInstance,
  latencies: RequestLatencies,
  clock: Clock,
): void {
  app.addHook('onRoute', ({ url, method, schema }) => {
    const response: object = schema?.response ?? {};
    const codes = Object.keys(response).map(Number).filter(Number.isInteger);
    for (const name of [method].flat()) {
      for (const code of codes.length > 0 ? codes : [200])
        latencies.declare({ route: url, method: name, code });
    }
  });

  app.addHook('onRequest', (request, reply, done) => {
    const startMs = clock.nowMs();
    const { raw } = reply;
    // It comes after the last byte, and also when the connection ended before an answer.
    raw.once('close', () => {
      const kind = {
        route: request.routeOptions.url ?? NO_ROUTE,
        method: METHODS.has(request.method) ? request.method : 'other',
        code: raw.writableEnded ? raw.statusCode : STATUS_CLIENT_GONE,
      };
      latencies.observe(kind, (clock.nowMs() - startMs) / 1000);
    });
    done();
  });
}
