import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import type { Control } from '../control.js';
import { Alive, Ready } from '../schemas/monitoring.js';

/** A page of metrics as the scraper gets it. */
export interface MetricsPage {
  readonly contentType: string;
  readonly text: string;
}

/** The page, for the document: a string goes out as it is. */
const MetricsText = {
  description: 'the metrics, in the text format of Prometheus',
  content: { 'text/plain': { schema: Type.String() } },
};

/** What the monitoring routes need. */
export interface MonitoringRoutesOptions {
  readonly control: Control;
  readonly metrics: () => Promise<MetricsPage>;
}

/** What watches the daemon from outside. */
export const monitoringRoutes: FastifyPluginCallbackTypebox<MonitoringRoutesOptions> = (
  app,
  { control, metrics },
  done,
) => {
  app.get(
    '/metrics',
    {
      schema: {
        operationId: 'getMetrics',
        summary: 'for Prometheus',
        response: { 200: MetricsText },
      },
    },
    async (_request, reply) => {
      const { contentType, text } = await metrics();
      return reply.type(contentType).send(text);
    },
  );

  app.get('/livez', { schema: { operationId: 'getLiveness', response: { 200: Alive } } }, () => ({
    alive: true,
  }));

  app.get(
    '/readyz',
    { schema: { operationId: 'getReadiness', response: { 200: Ready, 503: Ready } } },
    async (_request, reply) => {
      const { ready, reasons } = control.ready();
      return reply.code(ready ? 200 : 503).send({ ready, reasons: [...reasons] });
    },
  );

  app.get('/openapi.json', { schema: { operationId: 'getOpenApi', hide: true } }, () =>
    app.swagger(),
  );
  done();
};
