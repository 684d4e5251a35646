import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger';
import type { FastifySchema } from 'fastify';
import { Type } from 'typebox';

import { SECURITY_SCHEME } from './authorisation.js';
import { PROBLEM_MEDIA_TYPE } from './problem.js';
import { Problem } from './schemas/problem.js';

/** The media type of a file's bytes. */
export const OCTETS = 'application/octet-stream';

const Octets = Type.Unsafe<unknown>({ type: 'string', format: 'binary' });
const FilePathParam = Type.String({
  description: "from the partition's root, percent-encoded part by part: its slashes stay",
});
/** Every call may be refused, and every refusal has this body. */
const refusal = {
  description: 'a refusal (RFC 9457)',
  content: { [PROBLEM_MEDIA_TYPE]: { schema: Problem } },
};

/** What each status means, for answers whose schema does not say. */
const ANSWERS: Readonly<Record<string, string>> = {
  200: 'what was asked for, or what was done',
  201: 'it is there now, durably',
  202: 'it waits, and goes on as this operation without the connection',
  204: 'it is done, durably',
  503: 'not now, and why',
};

/** How `/openapi.json` is made of the routes and their schemas. */
export function openApiOptions(version: string): FastifyDynamicSwaggerOptions {
  const info = {
    title: 'daxd',
    description: 'A pmem namespace: its partitions, their files, and leases of their pages',
    version,
  };
  const description = 'over TCP, where the daemon has a --token-file';
  const scheme = { type: 'http', scheme: 'bearer', description } as const;
  const components = { securitySchemes: { [SECURITY_SCHEME]: scheme } };
  return {
    openapi: { openapi: '3.1.0', info, components },
    transform: ({ schema, url }) => ({
      schema: documented(schema, url),
      // OpenAPI knows no parameter without a name.
      url: url.replace('*', ':path'),
    }),
  };
}

/** What a route's own schema leaves out, since nothing is validated or written by it. */
function documented(schema: FastifySchema, url: string): FastifySchema {
  const { response, params, consumes } = schema;
  const isUpload = consumes?.includes(OCTETS) === true;
  return {
    ...schema,
    response: Object.assign({}, described(response), { default: refusal }),
    ...(isUpload && { body: Octets }),
    ...(url.includes('*') && { params: withFilePath(params) }),
  };
}

/** Answers by status, each with a description. */
function described(response: unknown): Record<string, object> {
  const answers = Object.entries<object>(Object.assign({}, response));
  return Object.fromEntries(
    answers.map(([status, answer]) => {
      const description = ANSWERS[status];
      return [status, description === undefined ? answer : { description, ...answer }];
    }),
  );
}

function withFilePath(params: unknown): unknown {
  return Type.IsObject(params)
    ? Type.Object({ ...params.properties, path: FilePathParam })
    : Type.Object({ path: FilePathParam });
}
