import { once } from 'node:events';
import { Agent, request } from 'node:http';

import t from 'tap';

import { setUpHttp } from './set-up.js';

const ASKED = {
  partition: 'pmem0p1',
  path: 'file',
  offset: 0,
  length: 4096,
  access: 'read',
  ttl_ms: 10_000,
  connection: true,
};

t.test('connection: keeps no lease that has ended otherwise', async (t) => {
  const { app, lent } = await setUpHttp(t);
  lent.fs.create('file', ['w']);
  const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => {
    agent.destroy();
  });
  const accepted = once(app.server, 'connection');
  const lease = async (key: string): Promise<{ readonly status: unknown; readonly id: string }> => {
    const headers = { 'content-type': 'application/json', 'idempotency-key': key };
    const asked = { host: '127.0.0.1', port, agent, method: 'POST', path: '/v1/leases', headers };
    const outgoing = request(asked).end(JSON.stringify(ASKED));
    const [answer] = await once(outgoing, 'response');
    let body = '';
    for await (const piece of answer) body += String(piece);
    return { status: answer.statusCode, id: JSON.parse(body).id };
  };
  const [attested, held] = [await lease('one'), await lease('two')];
  await lent.leases.revocation.proven(attested.id, 'its end was seen');
  t.equal((await lease('one')).status, 410, 'asked for again');

  const told: string[] = [];
  lent.leases.revocation.proven = async (id) => {
    told.push(id);
  };
  const [socket] = await accepted;
  const closed = once(socket, 'close');
  agent.destroy();
  await closed;
  t.strictSame(told, [held.id]);
});
