import { Readable } from 'node:stream';

import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import type { Control } from '../control.js';
import { abortOnDisconnect } from '../disconnect.js';
import { pathFromTarget } from '../file-path.js';
import { OCTETS } from '../openapi.js';
import { Appended, CreatedFile, WriteHeaders, WriteQuery } from '../schemas/file.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';
import { onlyNewOf, refuseTermsNotKept, storeUpload, uploadPlace } from '../upload.js';

/** What the routes that write files need. */
export interface WriteFileRoutesOptions {
  readonly control: Control;
  readonly writeChunkBytes: number;
}

const params = PartitionParams;
const ROUTE = '/v1/partitions/:partition/files/*';

/** Files made, replaced, written and removed. */
export const writeFileRoutes: FastifyPluginCallbackTypebox<WriteFileRoutesOptions> = (
  app,
  { control, writeChunkBytes },
  done,
) => {
  // Whatever the type of an upload, JSON included: its bytes are the file.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, payload, parsed) => {
    parsed(null, payload);
  });

  app.put(
    ROUTE,
    {
      config: { change: true },
      schema: {
        operationId: 'writeFile',
        summary: 'create or replace a file, or with offset or append write into it',
        consumes: [OCTETS],
        params,
        querystring: WriteQuery,
        headers: WriteHeaders,
        response: { 200: Appended, 201: CreatedFile, 204: Type.Null(), default: Problem },
      },
    },
    async (request, reply) => {
      refuseTermsNotKept(request.headers);
      const { fs } = control.files(request.params.partition);
      const path = pathFromTarget(request.url);
      const source = request.body instanceof Readable ? request.body : Readable.from([]);
      const { created, inode, offset } = await storeUpload(fs, source, {
        path,
        place: uploadPlace(request.query),
        onlyNew: onlyNewOf(request.query, request.headers['if-none-match']),
        chunkBytes: writeChunkBytes,
        signal: abortOnDisconnect(reply),
      });
      if (created) return reply.code(201).send({ inode, ...(offset !== undefined && { offset }) });
      if (offset !== undefined) return reply.code(200).send({ inode, offset });
      return reply.code(204).send(null);
    },
  );

  app.delete(
    ROUTE,
    {
      config: { change: true },
      schema: {
        operationId: 'removeFile',
        summary: 'unlink a file, or remove an empty directory',
        params,
        response: { 204: Type.Null(), default: Problem },
      },
    },
    async (request, reply) => {
      refuseTermsNotKept(request.headers);
      const { fs } = control.files(request.params.partition);
      await fs.unlink(pathFromTarget(request.url));
      return reply.code(204).send(null);
    },
  );
  done();
};
