import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import { PAGE_SIZE } from '../../lib/units.js';
import type { Control } from '../control.js';
import {
  FilesystemSizes,
  FormatPartition,
  MountPartition,
  Nothing,
  Partition,
} from '../schemas/partition.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';

const params = PartitionParams;
const response = { 200: Partition, default: Problem };
const config = { change: true };

/** The filesystem on each partition. */
export const filesystemRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
  app,
  { control },
  done,
) => {
  app.post(
    '/v1/partitions/:partition/format',
    { config, schema: { operationId: 'formatPartition', params, body: FormatPartition, response } },
    (request) => {
      const { label, force = false } = request.body;
      const options = { force, ...(label !== undefined && { label }) };
      return control.format(request.params.partition, options);
    },
  );

  app.post(
    '/v1/partitions/:partition/mount',
    { config, schema: { operationId: 'mountPartition', params, body: MountPartition, response } },
    (request) => control.mount(request.params.partition, { readOnly: request.body.read_only }),
  );

  app.post(
    '/v1/partitions/:partition/unmount',
    { config, schema: { operationId: 'unmountPartition', params, body: Nothing, response } },
    (request) => control.unmount(request.params.partition),
  );

  app.get(
    '/v1/partitions/:partition/statfs',
    {
      schema: {
        operationId: 'statFilesystem',
        summary: 'what the filesystem holds and has left',
        params,
        response: { 200: FilesystemSizes, default: Problem },
      },
    },
    (request) => {
      const sizes = control.files(request.params.partition).fs.statfs();
      return {
        block_size: PAGE_SIZE,
        total_bytes: sizes.totalBytes,
        free_bytes: sizes.freeBytes,
        available_bytes: sizes.availableBytes,
        total_inodes: sizes.totalInodes,
        free_inodes: sizes.freeInodes,
        quarantined_bytes: sizes.quarantinedBytes,
        quarantine_limit_bytes: sizes.quarantineLimitBytes,
      };
    },
  );
  done();
};
