import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { Control } from '../control.js';
import { pathFromTarget } from '../file-path.js';
import { SeekQuery, Sought } from '../schemas/file.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';
import { seekFrom } from '../seek.js';

/** Where a file has data, and where it has holes. */
export const seekRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
  app,
  { control },
  done,
) => {
  app.get(
    '/v1/partitions/:partition/seek/*',
    {
      schema: {
        operationId: 'seek',
        summary: 'the next data or hole of a file; what is allocated and unwritten is a hole',
        params: PartitionParams,
        querystring: SeekQuery,
        response: { 200: Sought, default: Problem },
      },
    },
    (request) => {
      const { fs } = control.files(request.params.partition);
      const inode = fs.lookup(pathFromTarget(request.url));
      return { offset: seekFrom(fs, inode, request.query) };
    },
  );
  done();
};
