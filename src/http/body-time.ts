import type { FastifyInstance, preParsingHookHandler } from 'fastify';

import type { Clock } from '../lib/clock.js';

/** How long a body may take. */
export interface BodyTimeOptions {
  readonly clock: Clock;
  readonly limits: { readonly bodyTimeoutMs: number };
}

/**
 * Cuts a connection on which a body that is read whole before its route runs, JSON as a rule, does
 * not come in time. The bytes of a file may take as long as they need.
 */
export function limitBodyTime(app: FastifyInstance, { clock, limits }: BodyTimeOptions): void {
  const limit: preParsingHookHandler = ({ raw }, _reply, _payload, done) => {
    const { headers } = raw;
    if (headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined) {
      const cancelTimer = clock.setTimer(() => {
        if (!raw.complete) raw.destroy();
      }, limits.bodyTimeoutMs);
      raw.once('close', cancelTimer);
    }
    done();
  };
  app.addHook('onRoute', (route) => {
    if (route.schema?.consumes !== undefined) return;
    route.preParsing = [...[route.preParsing ?? []].flat(), limit];
  });
}
