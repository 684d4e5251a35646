import type { FastifyRequest } from 'fastify';

import { pathFromTarget } from './file-path.js';

/** A text about a file that has no name below the routes, where the number of its inode is all there is. */
const BY_NUMBER = /^(?:[a-z]+ )*inode \d/;

/**
 * Puts the path that a request gave in front of what the filesystem says about an inode. Other
 * texts, and those of a request that gave none, stay as they are.
 */
export function namingFile(request: FastifyRequest, text: string): string {
  const name = BY_NUMBER.test(text) ? givenName(request) : undefined;
  return name === undefined ? text : `${name}: ${text}`;
}

function givenName({ routeOptions, url, body }: FastifyRequest): string | undefined {
  // Behind the name of the route, as /v1/partitions/:partition/files/* is one.
  if (routeOptions.url?.endsWith('/*') === true) return shown(pathFromTarget(url));
  if (typeof body !== 'object' || body === null) return undefined;
  const given: Readonly<Record<string, unknown>> = { ...body };
  const names = [given['path'], given['from'], given['to']].filter(
    (one) => typeof one === 'string',
  );
  return names.length === 0 ? undefined : names.map((one) => shown(one)).join(' to ');
}

function shown(path: string): string {
  return JSON.stringify(path === '' ? '/' : path);
}
