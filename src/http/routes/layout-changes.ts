import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply } from 'fastify';

import { DaxdError } from '../../lib/errno.js';
import type { Control, FileSystem } from '../control.js';
import { abortOnDisconnect } from '../disconnect.js';
import { pathFromText } from '../file-path.js';
import { ChangeRange, LayoutChanged, PunchHole, Truncate } from '../schemas/file.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';

const params = PartitionParams;
const response = { 200: LayoutChanged, default: Problem };
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
      const { fs } = control.files(request.params.partition);
      const { inode, change } = subject(fs, request.body.path, reply);
      const { waitedMs, freedBytes } = await fs.truncate(inode, request.body.size, change);
      return { size: request.body.size, waited_ms: waitedMs, freed_bytes: freedBytes };
    },
  );

  app.post(
    '/v1/partitions/:partition/punch-hole',
    { config, schema: { operationId: 'punchHole', params, body: PunchHole, response } },
    async (request, reply) => {
      const { fs } = control.files(request.params.partition);
      const { path, offset, length } = checkedRange(request.body);
      const { inode, change } = subject(fs, path, reply);
      const { waitedMs, freedBytes } = await fs.punchHole(inode, offset, length, change);
      return { size: fs.stat(inode).size, waited_ms: waitedMs, freed_bytes: freedBytes };
    },
  );

  app.post(
    '/v1/partitions/:partition/zero-range',
    { config, schema: { operationId: 'zeroRange', params, body: ChangeRange, response } },
    async (request, reply) => {
      const { fs } = control.files(request.params.partition);
      const { path, offset, length, keep_size: keepSize = false } = checkedRange(request.body);
      const { inode, change } = subject(fs, path, reply);
      const { waitedMs, freedBytes } = await fs.zeroRange(inode, offset, length, {
        ...change,
        keepSize,
      });
      return { size: fs.stat(inode).size, waited_ms: waitedMs, freed_bytes: freedBytes };
    },
  );

  app.post(
    '/v1/partitions/:partition/fallocate',
    { config, schema: { operationId: 'fallocate', params, body: ChangeRange, response } },
    async (request, reply) => {
      const { fs } = control.files(request.params.partition);
      const { path, offset, length, keep_size: keepSize = false } = checkedRange(request.body);
      const { inode, change } = subject(fs, path, reply);
      const { waitedMs, freedBytes } = await fs.fallocate(inode, offset, length, {
        ...change,
        keepSize,
      });
      return { size: fs.stat(inode).size, waited_ms: waitedMs, freed_bytes: freedBytes };
    },
  );
  done();
};

interface Subject {
  readonly inode: number;
  readonly change: { readonly path: string; readonly signal: AbortSignal };
}

/** The file to change, symlinks followed, and the wait's end with the client's connection. */
function subject(fs: FileSystem, path: string, reply: FastifyReply): Subject {
  const checked = pathFromText(path);
  return {
    inode: fs.lookup(checked),
    change: { path: checked, signal: abortOnDisconnect(reply) },
  };
}

function checkedRange<R extends { readonly offset: number; readonly length: number }>(range: R): R {
  if (!Number.isSafeInteger(range.offset + range.length)) {
    throw new DaxdError(
      'EFBIG',
      `offset ${range.offset} and length ${range.length} end at 2^53 or beyond`,
    );
  }
  return range;
}
