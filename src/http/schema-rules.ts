import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify';
import { Type } from 'typebox';

import { DaxdError } from '../lib/errno.js';
import { strict } from './schemas/values.js';

/** Decimal digits of an integer, no sign, no leading zero, no exponent: nothing else is a number in a query. */
const QUERY_INTEGER = /^(0|[1-9][0-9]{0,15})$/;

/** One violation as the validator reports it. */
interface Violation {
  readonly instancePath: string;
  readonly keyword: string;
  readonly message?: string;
  readonly params: Record<string, unknown>;
  readonly data?: unknown;
}

/**
 * What every route gets beside its own schema: a query without declared members takes none,
 * integers and booleans in a query arrive as such, and a missing body is an empty object, so that the
 * schema says what it lacks.
 */
export function addSchemaRules(app: FastifyInstance): void {
  app.addHook('onRoute', (route: RouteOptions) => {
    const schema = route.schema ?? {};
    schema.querystring ??= strict({});
    route.schema = schema;
    const { querystring } = schema;
    const integers = membersOf(querystring, (member) => Type.IsInteger(member));
    const booleans = membersOf(querystring, (member) => Type.IsBoolean(member));
    if (integers.length + booleans.length === 0 && schema.body === undefined) return;

    const convert = (request: FastifyRequest, _reply: unknown, done: () => void): void => {
      if (schema.body !== undefined) request.body ??= {};
      convertMembers(request.query, integers, integerOf);
      convertMembers(request.query, booleans, booleanOf);
      done();
    };
    route.preValidation = [convert, ...[route.preValidation ?? []].flat()];
  });
}

function membersOf(schema: unknown, isWanted: (member: unknown) => boolean): string[] {
  if (!Type.IsObject(schema)) return [];
  return Object.entries(schema.properties)
    .filter(([, member]) => isWanted(member))
    .map(([name]) => name);
}

/** Puts a value in the place of each text that stands for one; the schema refuses the others. */
function convertMembers(
  query: unknown,
  names: readonly string[],
  valueOf: (text: string) => number | boolean | undefined,
): void {
  if (names.length === 0 || typeof query !== 'object' || query === null) return;
  for (const [name, text] of Object.entries(query)) {
    if (!names.includes(name) || typeof text !== 'string') continue;
    const value = valueOf(text);
    if (value !== undefined) Object.assign(query, { [name]: value });
  }
}

function integerOf(text: string): number | undefined {
  return QUERY_INTEGER.test(text) ? Number(text) : undefined;
}

function booleanOf(text: string): boolean | undefined {
  return text === 'true' ? true : text === 'false' ? false : undefined;
}

/** Says which member broke which rule, and with what value. */
export function describeViolation(violations: readonly Violation[], part: string): DaxdError {
  const violation = violations[0];
  if (violation === undefined) return new DaxdError('EINVAL', `${part} is not valid`);
  const where = [part, ...violation.instancePath.split('/').slice(1)].join('.');
  const { params } = violation;
  if (violation.keyword === 'additionalProperties') {
    return new DaxdError(
      'EINVAL',
      `${where} has an unknown member ${JSON.stringify(params['additionalProperty'])}`,
    );
  }
  const constants = constantsAsked(violations, violation.instancePath);
  const rule = constants ?? violation.message ?? 'is not valid';
  return new DaxdError('EINVAL', `${where} ${rule}${shown(violation)}`);
}

/** Of a value that must be one of some, each gives a violation of its own. */
function constantsAsked(violations: readonly Violation[], at: string): string | undefined {
  const asked = violations
    .filter(({ keyword, instancePath }) => keyword === 'const' && instancePath === at)
    .map(({ params }) => JSON.stringify(params['allowedValue']));
  if (asked.length === 0) return undefined;
  return `must be ${asked.length === 1 ? '' : 'one of '}${asked.join(', ')}`;
}

const SHOWN_MAX = 64;

function shown({ keyword, data }: Violation): string {
  if (keyword === 'required') return '';
  // A value of many levels would overflow the stack of whoever writes it.
  if (typeof data === 'object' && data !== null) {
    return `, not ${Array.isArray(data) ? 'an array' : 'an object'}`;
  }
  const text = JSON.stringify(data) ?? 'nothing';
  return `, not ${text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}...` : text}`;
}
