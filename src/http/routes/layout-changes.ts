import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import { answerChange } from '../change-answer.js';
import { checkedRange } from '../change-subject.js';
import type { ChangePorts } from '../change-subject.js';
import { ChangeHeaders, ChangeRange, LayoutChanged, PunchHole, Truncate } from '../schemas/file.js';
import { Operation } from '../schemas/operation.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';

const common = {
  params: PartitionParams,
  headers: ChangeHeaders,
  response: { 200: LayoutChanged, 202: Operation, default: Problem },
};
const config = { change: true };

/** Changes of a file's size and blocks, which wait until nobody has the pages concerned. */
export const layoutChangeRoutes: FastifyPluginCallbackTypebox<ChangePorts> = (app, ports, done) => {
  app.post(
    '/v1/partitions/:partition/truncate',
    {
      config,
      schema: { operationId: 'truncate', ...common, body: Truncate },
    },
    async (request, reply) =>
      answerChange(ports, request, reply, { op: 'truncate', size: request.body.size }),
  );

  app.post(
    '/v1/partitions/:partition/punch-hole',
    {
      config,
      schema: { operationId: 'punchHole', ...common, body: PunchHole },
    },
    async (request, reply) => {
      const change = { op: 'punch-hole', ...checkedRange(request.body) } as const;
      return answerChange(ports, request, reply, change);
    },
  );

  app.post(
    '/v1/partitions/:partition/zero-range',
    {
      config,
      schema: { operationId: 'zeroRange', ...common, body: ChangeRange },
    },
    async (request, reply) => {
      const { keep_size: keepSize = false } = request.body;
      const change = { op: 'zero-range', ...checkedRange(request.body), keepSize } as const;
      return answerChange(ports, request, reply, change);
    },
  );

  app.post(
    '/v1/partitions/:partition/fallocate',
    {
      config,
      schema: { operationId: 'fallocate', ...common, body: ChangeRange },
    },
    async (request, reply) => {
      const { keep_size: keepSize = false } = request.body;
      const change = { op: 'fallocate', ...checkedRange(request.body), keepSize } as const;
      return answerChange(ports, request, reply, change);
    },
  );
  done();
};
