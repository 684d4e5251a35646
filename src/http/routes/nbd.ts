import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { Control } from '../control.js';
import { NbdExports } from '../schemas/nbd.js';
import { Problem } from '../schemas/problem.js';

/** What block clients can open. */
export const nbdRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
  app,
  { control },
  done,
) => {
  app.get(
    '/v1/nbd',
    { schema: { operationId: 'listNbdExports', response: { 200: NbdExports, default: Problem } } },
    () => control.nbdExports(),
  );
  done();
};
