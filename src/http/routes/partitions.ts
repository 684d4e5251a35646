import { Type } from 'typebox';
import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { Control } from '../control.js';
import { AddPartition, DeletePartition, Partition } from '../schemas/partition.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';

const params = PartitionParams;
const config = { change: true };

/** The partition table. */
export const partitionRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
  app,
  { control },
  done,
) => {
  app.get(
    '/v1/partitions',
    {
      schema: {
        operationId: 'listPartitions',
        response: { 200: Type.Array(Partition), default: Problem },
      },
    },
    () => control.partitions(),
  );

  app.post(
    '/v1/partitions',
    {
      config,
      schema: {
        operationId: 'addPartition',
        body: AddPartition,
        response: { 201: Partition, default: Problem },
      },
    },
    async (request, reply) => {
      const { size, label } = request.body;
      const added = await control.addPartition({
        label,
        ...(size !== undefined && { sizeBytes: size }),
      });
      return reply.code(201).send(added);
    },
  );

  app.delete(
    '/v1/partitions/:partition',
    {
      config,
      schema: {
        operationId: 'deletePartition',
        params,
        querystring: DeletePartition,
        response: { 204: Type.Null(), default: Problem },
      },
    },
    async (request, reply) => {
      const { disconnect = false } = request.query;
      await control.deletePartition(request.params.partition, { disconnect });
      return reply.code(204).send(null);
    },
  );
  done();
};
