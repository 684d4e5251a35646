import { Validator } from '@seriousme/openapi-schema-validator';
import t from 'tap';
import type { Test } from 'tap';

import { setUpHttp } from './set-up.js';

/** What the document says of one call. */
interface Call {
  readonly parameters?: readonly { readonly in: string; readonly name: string }[];
  readonly requestBody?: object;
  readonly responses: Readonly<Record<string, { readonly content?: object }>>;
}

/** All calls by method and path. */
async function documentedCalls(t: Test): Promise<Map<string, Call>> {
  const { get } = await setUpHttp(t);
  const { paths } = (await get('/openapi.json')).json();
  const methods = Object.entries(paths as Record<string, Record<string, Call>>);
  return new Map(
    methods.flatMap(([path, calls]) =>
      Object.entries(calls).map(([method, call]) => [`${method} ${path}`, call] as const),
    ),
  );
}

function namesIn(call: Call | undefined, place: string): string[] {
  const found = call?.parameters?.filter((one) => one.in === place) ?? [];
  return found.map(({ name }) => name);
}

function typesOf(call: Call | undefined, status: string): string[] {
  return Object.keys(call?.responses[status]?.content ?? {});
}

t.test('openapi: is valid', async (t) => {
  const { get } = await setUpHttp(t);
  const document = (await get('/openapi.json')).json();
  const { valid, errors } = await new Validator().validate(document);
  t.ok(valid, JSON.stringify(errors));
});

t.test('openapi: refusals are problems, and what a path names is declared', async (t) => {
  const calls = await documentedCalls(t);
  t.ok(calls.size > 30, `${calls.size} calls`);
  for (const [what, call] of calls) {
    t.strictSame(typesOf(call, 'default'), ['application/problem+json'], what);
    const inPath = [...what.matchAll(/\{(.*?)\}/g)].map(([, name]) => name);
    t.strictSame(new Set(namesIn(call, 'path')), new Set(inPath), what);
  }
});

t.test('openapi: says what is neither JSON nor in a body', async (t) => {
  const calls = await documentedCalls(t);
  const file = '/v1/partitions/{partition}/files/{path}';
  t.match(calls.get(`put ${file}`)?.requestBody, { content: { 'application/octet-stream': {} } });
  t.strictSame(typesOf(calls.get(`get ${file}`), '206'), ['application/octet-stream']);
  t.strictSame(typesOf(calls.get('get /v1/events'), '200'), ['text/event-stream']);
  for (const [call, header] of [
    ['post /v1/leases/{id}/renew', 'lease-secret'],
    ['post /v1/leases/{id}/bind', 'lease-secret'],
    ['post /v1/partitions/{partition}/truncate', 'prefer'],
    [`get ${file}`, 'range'],
    [`put ${file}`, 'if-none-match'],
    ['get /v1/events', 'last-event-id'],
  ] as const) {
    t.ok(namesIn(calls.get(call), 'header').includes(header), `${call}: ${header}`);
  }
});
