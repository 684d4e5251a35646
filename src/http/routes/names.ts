import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import type { Control } from '../control.js';
import { abortOnDisconnect } from '../disconnect.js';
import { pathFromText } from '../file-path.js';
import { MadeInode, MakeDirectory, MakeSymlink, Rename } from '../schemas/file.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';

const params = PartitionParams;
const config = { change: true };

/** What files are called. */
export const nameRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
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
        response: { 201: MadeInode, default: Problem },
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
        response: { 201: MadeInode, default: Problem },
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
    '/v1/partitions/:partition/rename',
    {
      config,
      schema: {
        operationId: 'rename',
        params,
        body: Rename,
        response: { 204: Type.Null(), default: Problem },
      },
    },
    async (request, reply) => {
      const { fs } = control.files(request.params.partition);
      const from = pathFromText(request.body.from);
      const to = pathFromText(request.body.to);
      await fs.rename(from, to, { path: to, signal: abortOnDisconnect(reply) });
      return reply.code(204).send(null);
    },
  );
  done();
};
