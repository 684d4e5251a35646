import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import type { Control } from '../control.js';
import { pathFromText } from '../file-path.js';
import { MakeLink, Rename } from '../schemas/file.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';

const params = PartitionParams;
const config = { change: true };
const response = { 204: Type.Null(), default: Problem };

/** What files are called. */
export const nameRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
  app,
  { control },
  done,
) => {
  app.post(
    '/v1/partitions/:partition/rename',
    {
      config,
      schema: {
        operationId: 'rename',
        params,
        body: Rename,
        response,
      },
    },
    async (request, reply) => {
      const { fs } = control.files(request.params.partition);
      const from = pathFromText(request.body.from);
      const to = pathFromText(request.body.to);
      await fs.rename(from, to, { noReplace: request.body.no_replace ?? false });
      return reply.code(204).send(null);
    },
  );

  app.post(
    '/v1/partitions/:partition/link',
    {
      config,
      schema: {
        operationId: 'makeLink',
        summary: 'give a file another name',
        params,
        body: MakeLink,
        response,
      },
    },
    async (request, reply) => {
      const { fs } = control.files(request.params.partition);
      await fs.link(pathFromText(request.body.from), pathFromText(request.body.to));
      return reply.code(204).send(null);
    },
  );
  done();
};
