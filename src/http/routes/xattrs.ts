import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import { bytesFromBase64 } from '../base64.js';
import type { Control, FileSystem } from '../control.js';
import { pathFromTarget } from '../file-path.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';
import { ReadXattrsQuery, SetXattr, XattrList, XattrQuery } from '../schemas/xattr.js';

const params = PartitionParams;
const config = { change: true };
const changed = { 204: Type.Null(), default: Problem };

type XattrPlugin = FastifyPluginCallbackTypebox<{ readonly control: Control }>;

/** The same calls for the root and for what is below it. */
const ROUTES = [
  { url: '/v1/partitions/:partition/xattrs', of: 'OfRoot' },
  { url: '/v1/partitions/:partition/xattrs/*', of: '' },
] as const;

/** Reads extended attributes of files, directories and, with `follow=false`, symlinks. */
export const readXattrRoutes: XattrPlugin = (app, { control }, done) => {
  for (const { url, of } of ROUTES) {
    app.get(
      url,
      {
        schema: {
          operationId: `readXattrs${of}`,
          summary: 'extended attributes, or the one that is named',
          params,
          querystring: ReadXattrsQuery,
          response: { 200: XattrList, default: Problem },
        },
      },
      (request) => {
        const { fs } = control.files(request.params.partition);
        const { name } = request.query;
        const inode = inodeOf(fs, request.url, request.query.follow);
        const names = name === undefined ? fs.listXattrs(inode) : [name];
        return {
          xattrs: names.map((one) => ({
            name: one,
            value_base64: fs.getXattr(inode, one).toString('base64'),
          })),
        };
      },
    );
  }
  done();
};

/** Sets and removes extended attributes. */
export const changeXattrRoutes: XattrPlugin = (app, { control }, done) => {
  for (const { url, of } of ROUTES) {
    app.put(
      url,
      {
        config,
        schema: {
          operationId: `setXattr${of}`,
          summary: 'set an extended attribute',
          params,
          querystring: XattrQuery,
          body: SetXattr,
          response: changed,
        },
      },
      async (request, reply) => {
        const { fs } = control.files(request.params.partition);
        const { value_base64: text, only } = request.body;
        const value = bytesFromBase64(text, 'value_base64');
        const inode = inodeOf(fs, request.url, request.query.follow);
        await fs.setXattr(inode, request.query.name, value, { only });
        return reply.code(204).send(null);
      },
    );

    app.delete(
      url,
      {
        config,
        schema: {
          operationId: `removeXattr${of}`,
          summary: 'remove an extended attribute',
          params,
          querystring: XattrQuery,
          response: changed,
        },
      },
      async (request, reply) => {
        const { fs } = control.files(request.params.partition);
        const inode = inodeOf(fs, request.url, request.query.follow);
        await fs.removeXattr(inode, request.query.name);
        return reply.code(204).send(null);
      },
    );
  }
  done();
};

function inodeOf(fs: FileSystem, target: string, follow = true): number {
  return fs.lookup(pathFromTarget(target), { follow });
}
