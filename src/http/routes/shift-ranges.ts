import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import { answerChange, changedBody } from '../change-answer.js';
import { checkedRange } from '../change-subject.js';
import type { Control } from '../control.js';
import { LayoutChanged, ShiftRange } from '../schemas/file.js';
import { Operation } from '../schemas/operation.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';

const params = PartitionParams;
const response = { 200: LayoutChanged, 202: Operation, default: Problem };
const config = { change: true };

/** Changes that move what lies behind a range; they wait until nobody has pages from there on. */
export const shiftRangeRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
  app,
  { control },
  done,
) => {
  app.post(
    '/v1/partitions/:partition/collapse-range',
    { config, schema: { operationId: 'collapseRange', params, body: ShiftRange, response } },
    async (request, reply) => {
      const { offset, length } = checkedRange(request.body);
      return answerChange(control, request, reply, async ({ fs, inode, change }) => {
        const result = await fs.collapseRange(inode, offset, length, change);
        return changedBody(fs.stat(inode).size, result);
      });
    },
  );

  app.post(
    '/v1/partitions/:partition/insert-range',
    { config, schema: { operationId: 'insertRange', params, body: ShiftRange, response } },
    async (request, reply) => {
      const { offset, length } = checkedRange(request.body);
      return answerChange(control, request, reply, async ({ fs, inode, change }) => {
        const result = await fs.insertRange(inode, offset, length, change);
        return changedBody(fs.stat(inode).size, result);
      });
    },
  );
  done();
};
