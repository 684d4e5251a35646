import type { FastifyInstance } from 'fastify';
import type { Test } from 'tap';

import { buildHttp } from '../../../src/http/app.js';
import { Callers } from '../../../src/http/callers.js';
import type { Token } from '../../../src/http/callers.js';
import { EventStreams } from '../../../src/http/event-streams.js';
import { HostGuard } from '../../../src/http/host-guard.js';
import { RequestLatencies } from '../../../src/http/request-latencies.js';
import { systemClock } from '../../../src/lib/clock.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { setUpControl } from './memory-control.js';

type Response = Awaited<ReturnType<FastifyInstance['inject']>>;
type Headers = Readonly<Record<string, string>>;

/** The routes, what stands behind them, and ways to call them. */
export interface HttpSetUp extends Awaited<ReturnType<typeof setUpControl>> {
  readonly app: FastifyInstance;
  readonly latencies: RequestLatencies;
  /** What was told to end the daemon. */
  readonly fatal: readonly Error[];
  readonly get: (url: string, headers?: Headers) => Promise<Response>;
  readonly post: (url: string, payload?: object | string, headers?: Headers) => Promise<Response>;
  readonly put: (url: string, payload: string | Buffer, headers?: Headers) => Promise<Response>;
  readonly patch: (url: string, payload: object) => Promise<Response>;
  readonly remove: (url: string, headers?: Headers) => Promise<Response>;
}

/**
 * The routes over a daemon in memory, called without a socket.
 *
 * @param tokens undefined: callers need none.
 */
export async function setUpHttp(t: Test, tokens?: readonly Token[]): Promise<HttpSetUp> {
  const { control, lent } = await setUpControl();
  const events = new EventStreams(lent.ring, lent.clock);
  const latencies = new RequestLatencies();
  const unixSockets = new WeakSet<object>();
  const fatal: Error[] = [];
  const app = await buildHttp({
    control,
    events,
    guard: new HostGuard(['127.0.0.1', 'localhost', 'daxd.example'], unixSockets),
    callers: new Callers(tokens, unixSockets),
    lastingConnections: new WeakSet(),
    latencies,
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'daxd_x 1\n' }),
    clock: systemClock,
    log: silentLogger,
    version: '9.9.9',
    onFatal: (error) => fatal.push(error),
    limits: { jsonBodyBytesMax: 65536, bodyTimeoutMs: 60_000, writeChunkBytes: 1024 },
  });
  t.teardown(() => app.close());
  const headers = { host: '127.0.0.1:8470' };
  const get = (url: string, more: Headers = {}): Promise<Response> =>
    app.inject({ method: 'GET', url, headers: { ...headers, ...more } });
  const post = (url: string, payload?: object | string, more: Headers = {}): Promise<Response> =>
    app.inject({
      method: 'POST',
      url,
      headers: {
        ...headers,
        ...(typeof payload === 'string' ? { 'content-type': 'application/json' } : {}),
        ...more,
      },
      ...(payload !== undefined && { payload }),
    });
  const put = (url: string, payload: string | Buffer, more: Headers = {}): Promise<Response> =>
    app.inject({ method: 'PUT', url, headers: { ...headers, ...more }, payload });
  const patch = (url: string, payload: object): Promise<Response> =>
    app.inject({ method: 'PATCH', url, headers, payload });
  const remove = (url: string, more: Headers = {}): Promise<Response> =>
    app.inject({ method: 'DELETE', url, headers: { ...headers, ...more } });
  return { app, control, lent, latencies, fatal, get, post, put, patch, remove };
}
