import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';

import { DaxdError } from '../lib/errno.js';
import type { ErrorCode } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import { KIB } from '../lib/units.js';
import { namingFile } from './named-file.js';
import { HttpRefusal, INTERNAL_ERROR, PROBLEM_MEDIA_TYPE, problemFor } from './problem.js';

/** What refusing needs beside the request. */
export interface RefusalOptions {
  readonly log: Logger;
  /** Told of what is neither the client's fault nor foreseen: a broken invariant above all. */
  readonly onFatal: (error: Error) => void;
  readonly limits: { readonly jsonBodyBytesMax: number };
}

/** Statuses of HTTP's own that have an errno of the same meaning. */
const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  403: 'EACCES',
  404: 'ENOENT',
  413: 'EFBIG',
};

/** Turns what a route throws into a problem, and the unexpected into the end of the daemon. */
export function refuse(
  error: Error,
  request: FastifyRequest,
  reply: FastifyReply,
  { log, onFatal, limits }: RefusalOptions,
): FastifyReply {
  const expected = foreseen(error, limits);
  if (expected === undefined) onFatal(error);
  const refusal = expected ?? new DaxdError('EIO', INTERNAL_ERROR);
  const problem = problemFor(refusal, request.url);
  problem.detail = namingFile(request, problem.detail);

  const level = problem.status >= 500 ? 'warn' : 'info';
  log[level](
    { method: request.method, url: request.url, code: problem.code, status: problem.status },
    `refused: ${problem.detail}`,
  );
  if (refusal instanceof HttpRefusal) reply.headers(refusal.headers);
  // Fastify would close the connection while the client still sends, which then sees no answer.
  if (problem.status === 413) reply.removeHeader('connection');
  return reply.code(problem.status).type(PROBLEM_MEDIA_TYPE).send(problem);
}

/** The refusal that `error` stands for; undefined when it is a defect of daxd. */
function foreseen(error: Error, limits: RefusalOptions['limits']): DaxdError | undefined {
  if (error instanceof DaxdError) return error;
  if (isTooLong(error)) return new DaxdError('EIO', 'the answer would be too long: ask for less');
  const status = httpStatus(error);
  if (status === undefined) return undefined;
  // Fastify's own refusals: a schema, a malformed body, a body too large, a media type.
  const code = CODE_OF_STATUS[status] ?? 'EINVAL';
  return new HttpRefusal({ status, code, message: adviceFor(error, status, limits) });
}

/** Of a serializer: V8 makes no string of more than 512 MiB. */
function isTooLong(error: Error): boolean {
  return error instanceof RangeError && error.message === 'Invalid string length';
}

function httpStatus(error: Error & Partial<FastifyError>): number | undefined {
  const { statusCode } = error;
  if (statusCode === undefined || statusCode < 400 || statusCode >= 500) return undefined;
  return statusCode;
}

function adviceFor(
  error: Error,
  status: number,
  { jsonBodyBytesMax }: RefusalOptions['limits'],
): string {
  if (status === 413) {
    return `the body is larger than ${jsonBodyBytesMax / KIB} KiB: only files may be`;
  }
  if (status === 415) {
    return 'this Content-Type is not taken: JSON is application/json, the bytes of a file are application/octet-stream';
  }
  return error.message;
}
