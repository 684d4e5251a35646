import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import { answerChange, changedBody } from '../change-answer.js';
import { checkedRange } from '../change-subject.js';
import type { Control } from '../control.js';
import { ChangeRange, LayoutChanged, PunchHole, Truncate } from '../schemas/file.js';
import { Operation } from '../schemas/operation.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';

const params = PartitionParams;
const response = { 200: LayoutChanged, 202: Operation, default: Problem };
const config = { change: true };

/** Changes of a file's size and blocks, which wait until nobody has the pages concerned. */
export const layoutChangeRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
  app,
  { control },
  done,
) => {
  app.post(
    '/v1/partitions/:partition/truncate',
    { config, schema: { operationId: 'truncate', params, body: Truncate, response } },
    async (request, reply) => {
      return answerChange(control, request, reply, async ({ fs, inode, change }) => {
        const result = await fs.truncate(inode, request.body.size, change);
        return changedBody(request.body.size, result);
      });
    },
  );

  app.post(
    '/v1/partitions/:partition/punch-hole',
    { config, schema: { operationId: 'punchHole', params, body: PunchHole, response } },
    async (request, reply) => {
      const { offset, length } = checkedRange(request.body);
      return answerChange(control, request, reply, async ({ fs, inode, change }) => {
        const result = await fs.punchHole(inode, offset, length, change);
        return changedBody(fs.stat(inode).size, result);
      });
    },
  );

  app.post(
    '/v1/partitions/:partition/zero-range',
    { config, schema: { operationId: 'zeroRange', params, body: ChangeRange, response } },
    async (request, reply) => {
      const { offset, length, keep_size: keepSize = false } = checkedRange(request.body);
      return answerChange(control, request, reply, async ({ fs, inode, change }) => {
        const result = await fs.zeroRange(inode, offset, length, {
          ...change,
          keepSize,
        });
        return changedBody(fs.stat(inode).size, result);
      });
    },
  );

  app.post(
    '/v1/partitions/:partition/fallocate',
    { config, schema: { operationId: 'fallocate', params, body: ChangeRange, response } },
    async (request, reply) => {
      const { offset, length, keep_size: keepSize = false } = checkedRange(request.body);
      return answerChange(control, request, reply, async ({ fs, inode, change }) => {
        const result = await fs.fallocate(inode, offset, length, {
          ...change,
          keepSize,
        });
        return changedBody(fs.stat(inode).size, result);
      });
    },
  );
  done();
};
