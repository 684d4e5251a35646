import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';

import type { FastifyInstance } from 'fastify';

import { DaxdError } from '../lib/errno.js';

/**
 * A surrogate escaped in JSON text: both halves of a pair, or one of them alone, which is what is
 * captured. An escaped backslash is passed over, as is every other escape.
 */
const ESCAPES =
  /\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|(u[dD][89a-fA-F])|[^])/g;

/**
 * JSON as Fastify reads it, but a body of no bytes is no body, and one that is not UTF-8 is refused:
 * read leniently it names another file than the one that was meant.
 */
export function parseStrictJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<Buffer>(
    'application/json',
    { parseAs: 'buffer' },
    (request, body, done) => {
      if (body.length === 0) {
        done(null, undefined);
        return;
      }
      const text = body.toString();
      const problem = textProblem(body, text);
      if (problem === undefined) void parse(request, text, done);
      else done(new DaxdError('EINVAL', problem), undefined);
    },
  );
}

function textProblem(bytes: Buffer, text: string): string | undefined {
  if (!isUtf8(bytes)) return 'the body is not UTF-8';
  // Whatever is given back with it is no JSON for parsers that are strict.
  return hasHalfPair(text) ? 'the body escapes half a surrogate pair' : undefined;
}

function hasHalfPair(text: string): boolean {
  if (!text.includes('\\u')) return false;
  for (const [, half] of text.matchAll(ESCAPES)) if (half !== undefined) return true;
  return false;
}

/**
 * Refuses a query that is not percent-encoded UTF-8, which would be taken as it stands.
 *
 * @throws DaxdError EINVAL.
 */
export function checkQuery({ url = '' }: IncomingMessage): void {
  const at = url.indexOf('?');
  if (at < 0 || !url.includes('%', at)) return;
  const query = url.slice(at + 1);
  try {
    decodeURIComponent(query);
  } catch (cause) {
    throw new DaxdError('EINVAL', `the query "${query}" is not percent-encoded UTF-8`, { cause });
  }
}
