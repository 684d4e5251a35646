import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { Control } from '../control.js';
import { pathFromText } from '../file-path.js';
import { MadeInode, MakeDirectory, MakeNode, MakeSymlink } from '../schemas/file.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';

const params = PartitionParams;
const config = { change: true };
const response = { 201: MadeInode, default: Problem };
/** Permissions of a node that is made without. */
const NODE_MODE = 0o644;

/** Directories, symlinks, devices and their like; files are made by writing them. */
export const nodeRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
  app,
  { control },
  done,
) => {
  app.post(
    '/v1/partitions/:partition/mkdir',
    {
      config,
      schema: {
        operationId: 'makeDirectory',
        params,
        body: MakeDirectory,
        response,
      },
    },
    async (request, reply) => {
      const { fs } = control.files(request.params.partition);
      const inode = await fs.mkdir(pathFromText(request.body.path));
      return reply.code(201).send({ inode });
    },
  );

  app.post(
    '/v1/partitions/:partition/symlink',
    {
      config,
      schema: {
        operationId: 'makeSymlink',
        params,
        body: MakeSymlink,
        response,
      },
    },
    async (request, reply) => {
      const { fs } = control.files(request.params.partition);
      const { path, target } = request.body;
      const inode = await fs.symlink(pathFromText(path), target);
      return reply.code(201).send({ inode });
    },
  );

  app.post(
    '/v1/partitions/:partition/mknod',
    {
      config,
      schema: {
        operationId: 'makeNode',
        summary: 'make a device, fifo or socket',
        params,
        body: MakeNode,
        response,
      },
    },
    async (request, reply) => {
      const { fs } = control.files(request.params.partition);
      const { path, mode = NODE_MODE, ...node } = request.body;
      const inode = await fs.mknod(pathFromText(path), { ...node, mode });
      return reply.code(201).send({ inode });
    },
  );
  done();
};
