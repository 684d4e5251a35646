import { Readable } from 'node:stream';

import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Static } from 'typebox';

import { InvariantError } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import { requestedRange } from '../byte-range.js';
import type { Control, MountedFiles } from '../control.js';
import { etagOf, matchesEtag, passesIfMatch } from '../etag.js';
import { pathFromTarget } from '../file-path.js';
import { streamListing } from '../listing.js';
import { OCTETS } from '../openapi.js';
import { DirectoryListing, ListingQuery, ReadHeaders } from '../schemas/file.js';
import { PartitionParams } from '../schemas/values.js';

const params = PartitionParams;
const bytes = { [OCTETS]: { schema: Type.Unsafe<unknown>({ type: 'string', format: 'binary' }) } };
/** All come as streams, which go out as they are: the schemas are for the document alone. */
const response = {
  200: {
    description: 'the bytes of a file, or the entries of a directory',
    content: { ...bytes, 'application/json': { schema: Type.Unsafe<unknown>(DirectoryListing) } },
  },
  206: { description: 'the range that was asked for', content: bytes },
  304: Type.Null({ description: 'it is as If-None-Match has it' }),
};
const FILE_ROUTE = '/v1/partitions/:partition/files/*';

/** The bytes of files, and what is in directories. */
export const readFileRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
  app,
  { control },
  done,
) => {
  const answer = (request: ReadRequest, reply: FastifyReply): FastifyReply => {
    const files = control.files(request.params.partition);
    const inode = files.fs.lookup(pathFromTarget(request.url));
    if (files.fs.stat(inode).type !== 'directory') return sendFile(files, inode, request, reply);
    reply.type('application/json; charset=utf-8');
    // Nothing at all would be given a length.
    if (request.method === 'HEAD') return reply.send(Readable.from([]));
    return reply.send(cutOnError(streamListing(files.fs, inode, request.query)));
  };
  for (const url of ['/v1/partitions/:partition/files', FILE_ROUTE]) {
    const operationId = url === FILE_ROUTE ? 'readFile' : 'listRoot';
    const schema = {
      operationId,
      params,
      querystring: ListingQuery,
      headers: ReadHeaders,
      response,
    };
    const summary = 'the bytes of a file, or the entries of a directory';
    // Fastify's own HEAD would read the whole file and throw it away.
    app.get(url, { exposeHeadRoute: false, schema: { ...schema, summary } }, answer);
    app.head(url, { schema: { ...schema, hide: true } }, answer);
  }
  done();
};

type ReadRequest = FastifyRequest<{
  Params: Static<typeof PartitionParams>;
  Querystring: Static<typeof ListingQuery>;
}>;

function sendFile(
  files: MountedFiles,
  inode: number,
  request: ReadRequest,
  reply: FastifyReply,
): FastifyReply {
  const stat = files.fs.stat(inode);
  if (stat.type !== 'file') {
    const path = JSON.stringify(pathFromTarget(request.url));
    throw new DaxdError('EOPNOTSUPP', `${path} is a ${stat.type}: only files have bytes`);
  }
  // What a device writes into pinned pages changes no time stamp, so they have no entity tag.
  const pinned = files.pinnedPages(files.fs.extents(inode)) > 0;
  const etag = pinned ? undefined : etagOf(stat);
  reply.header('accept-ranges', 'bytes').type(OCTETS);
  if (etag !== undefined) reply.header('etag', etag);

  const { headers } = request;
  if (!passesIfMatch(headers['if-match'], etag)) {
    throw new DaxdError('stale-generation', 'the file is not as If-Match has it');
  }
  if (matchesEtag(headers['if-none-match'], etag)) return reply.code(304).send();
  const ifRange = headers['if-range'];
  // Of HEAD a Range says nothing (RFC 9110, section 14.2).
  const isAsked = request.method === 'GET' && (ifRange === undefined || ifRange === etag);
  const range = isAsked ? requestedRange(headers.range, stat.size) : undefined;
  const { from, to } = range ?? { from: 0, to: stat.size };
  if (range !== undefined) {
    reply.code(206).header('content-range', `bytes ${from}-${to - 1}/${stat.size}`);
  }
  reply.header('content-length', to - from);
  return reply.send(
    bodyUnlessHead(request, () =>
      Readable.from(exactly(files.fs.readStream(inode, from, to - from), to - from)),
    ),
  );
}

/** A file that became shorter breaks off: what is sent next would be taken for its end. */
async function* exactly(pieces: AsyncIterable<Buffer>, length: number): AsyncGenerator<Buffer> {
  let left = length;
  for await (const piece of pieces) {
    left -= piece.length;
    yield piece;
  }
  if (left > 0) throw new DaxdError('EIO', `the file became shorter by ${left} bytes meanwhile`);
}

/** HEAD gets the header fields alone, without reading the file for it. */
function bodyUnlessHead(request: ReadRequest, body: () => Readable): Readable | null {
  if (request.method === 'HEAD') return null;
  return cutOnError(body());
}

/** An answer under way can carry no refusal: it is cut. A defect ends the daemon all the same. */
function cutOnError(body: Readable): Readable {
  return body.on('error', (error) => {
    if (error instanceof InvariantError) throw error;
  });
}
