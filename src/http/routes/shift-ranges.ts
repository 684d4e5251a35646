import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import { answerChange } from '../change-answer.js';
import { checkedRange } from '../change-subject.js';
import type { ChangePorts } from '../change-subject.js';
import { refuseKey } from '../idempotency-key.js';
import { ChangeHeaders, LayoutChanged, ShiftRange } from '../schemas/file.js';
import { Operation } from '../schemas/operation.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';

const common = {
  params: PartitionParams,
  headers: ChangeHeaders,
  response: { 200: LayoutChanged, 202: Operation, default: Problem },
};
const config = { change: true };

/** Changes that move what lies behind a range; they wait until nobody has pages from there on. */
export const shiftRangeRoutes: FastifyPluginCallbackTypebox<ChangePorts> = (app, ports, done) => {
  // Behind the look at who calls.
  app.addHook('preValidation', (request, _reply, next) => {
    refuseKey(request.headers['idempotency-key']);
    next();
  });

  app.post(
    '/v1/partitions/:partition/collapse-range',
    {
      config,
      schema: { operationId: 'collapseRange', ...common, body: ShiftRange },
    },
    async (request, reply) => {
      const change = { op: 'collapse-range', ...checkedRange(request.body) } as const;
      return answerChange(ports, request, reply, change);
    },
  );

  app.post(
    '/v1/partitions/:partition/insert-range',
    {
      config,
      schema: { operationId: 'insertRange', ...common, body: ShiftRange },
    },
    async (request, reply) => {
      const change = { op: 'insert-range', ...checkedRange(request.body) } as const;
      return answerChange(ports, request, reply, change);
    },
  );
  done();
};
