import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';

import { Connection } from '../../../src/client/connection.js';
import { listenOnLoopback } from '../../support/serve-http.js';

const SILENCE_MS = 200;
const ANSWER_MS = 600;

t.test('call: one that may wait is silent for as long as it asked to', async (t) => {
  const server = createServer((_request, response) => {
    void sleep(ANSWER_MS).then(() => response.end('{}'));
  });
  const port = await listenOnLoopback(t, server);
  const connection = new Connection({ url: `http://127.0.0.1:${port}` }, SILENCE_MS);
  const call = { method: 'GET', path: '/' } as const;
  await t.rejects(connection.call(call), { message: /nothing came for too long/ });
  t.strictSame(await connection.call({ ...call, waitMs: ANSWER_MS }), {});
});
