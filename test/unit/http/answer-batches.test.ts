import { Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { fastify } from 'fastify';
import type { FastifyInstance } from 'fastify';
import t from 'tap';

import { batchAnswers } from '../../../src/http/answer-batches.js';

/** An app that notes when a request is handled, and when its answer is on its way. */
function notingApp(): { app: FastifyInstance; notes: string[] } {
  const notes: string[] = [];
  const app = fastify();
  batchAnswers(app);
  app.addHook('onSend', (request, _reply, _payload, done) => {
    notes.push(`sent ${request.url}`);
    done();
  });
  app.get('/:name', async (request, reply) => {
    notes.push(`handled ${request.url}`);
    if (request.url === '/stream') return Readable.from(['bytes']);
    if (request.url === '/nothing') return reply.code(204).send(null);
    if (request.url === '/refused') throw new Error('refused');
    return { ok: true };
  });
  return { app, notes };
}

/** Sends requests in one turn of the event loop; what was noted until all were answered. */
async function inOneTurn(
  { app, notes }: ReturnType<typeof notingApp>,
  ...paths: string[]
): Promise<string[]> {
  await nextTurn();
  notes.length = 0;
  const answers = await Promise.all(paths.map((path) => app.inject(path)));
  notes.push(...answers.map(({ statusCode, body }) => `${statusCode} ${body}`));
  return notes.splice(0);
}

t.test('several a turn are sent together behind the last, also refusals and 204', async (t) => {
  const noting = notingApp();
  await noting.app.ready();
  await inOneTurn(noting, '/a', '/b');
  const notes = await inOneTurn(noting, '/a', '/nothing', '/refused', '/b');
  t.same(notes.slice(0, 4), ['handled /a', 'handled /nothing', 'handled /refused', 'handled /b']);
  t.same(notes.slice(4, 8).toSorted(), ['sent /a', 'sent /b', 'sent /nothing', 'sent /refused']);
  t.match(notes.slice(8), ['200 {"ok":true}', '204 ', /^500 .*refused/, '200 {"ok":true}']);
});

t.test('one a turn goes at once, and so does the first of several', async (t) => {
  const noting = notingApp();
  await noting.app.ready();
  for (const path of ['/a', '/b']) {
    t.same(await inOneTurn(noting, path), [`handled ${path}`, `sent ${path}`, '200 {"ok":true}']);
  }
  const notes = await inOneTurn(noting, '/a', '/b');
  t.ok(notes.includes('sent /a') && notes.includes('sent /b'), 'none is forgotten');
});

t.test('a stream waits for nobody', async (t) => {
  const noting = notingApp();
  await noting.app.ready();
  await inOneTurn(noting, '/a', '/b');
  const notes = await inOneTurn(noting, '/a', '/stream');
  t.ok(notes.indexOf('sent /stream') < notes.indexOf('sent /a'));
  t.same(notes.slice(-2), ['200 {"ok":true}', '200 bytes']);
});
