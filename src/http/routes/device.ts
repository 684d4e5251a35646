import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { Control } from '../control.js';
import { Device } from '../schemas/device.js';
import { Problem } from '../schemas/problem.js';

/** What the device is and how it was attached. */
export const deviceRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
  app,
  { control },
  done,
) => {
  app.get(
    '/v1/device',
    {
      schema: {
        operationId: 'getDevice',
        summary: 'the backing, its namespace, and every step of the attach',
        response: { 200: Device, default: Problem },
      },
    },
    () => control.device(),
  );
  done();
};
