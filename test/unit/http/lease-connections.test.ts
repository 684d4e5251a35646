import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';

import t from 'tap';
import type { Test } from 'tap';

import { Callers } from '../../../src/http/callers.js';
import { LeaseConnections } from '../../../src/http/lease-connections.js';
import { listenOnLoopback } from '../../support/serve-http.js';

type Handler = (incoming: IncomingMessage, response: ServerResponse) => void | Promise<void>;

/** A server that does as told with each request, and what its leases ended by. */
async function setUp(t: Test) {
  const ended: string[] = [];
  const callers = new Callers(undefined, new WeakSet());
  const connections = new LeaseConnections(callers, new WeakSet(), (lease) => ended.push(lease));
  let handler: Handler = (incoming, response) => {
    connections.bind(incoming, response, 'one');
    response.end();
  };
  const server = createServer((incoming, response) => void handler(incoming, response));
  const port = await listenOnLoopback(t, server);
  /** A request over a connection of its own, which stays open. */
  const ask = () => {
    const agent = new Agent({ keepAlive: true });
    t.teardown(() => {
      agent.destroy();
    });
    const outgoing = request({ host: '127.0.0.1', port, agent });
    outgoing.on('error', () => {});
    outgoing.end();
    return { agent, outgoing };
  };
  /** Binds the lease over a connection of its own; both ends of that. */
  const bind = async () => {
    const [asked, { agent, outgoing }] = [once(server, 'request'), ask()];
    const [answer] = await once(outgoing, 'response');
    answer.resume();
    await once(answer, 'end');
    const [{ socket }] = await asked;
    return { agent, socket };
  };
  /** Has the next request handled so; resolves when that is done. */
  const handle = async (next: Handler): Promise<void> =>
    new Promise((resolve) => {
      handler = async (incoming, response) => {
        await next(incoming, response);
        resolve();
      };
    });
  return { ended, connections, ask, bind, handle };
}

t.test('check: the connection of a proxy on this machine is no holder of its own', async (t) => {
  const { connections, ask, handle } = await setUp(t);
  for (const name of ['via', 'forwarded', 'x-forwarded-for', undefined]) {
    const handled = handle((incoming, response) => {
      if (name === undefined) connections.check(incoming);
      else {
        incoming.headers[name] = '192.0.2.1';
        t.throws(() => connections.check(incoming), { code: 'EINVAL', message: /proxy/ }, name);
      }
      response.end();
    });
    ask();
    await handled;
  }
});

t.test('forget: the end of a connection says nothing of a lease that has ended', async (t) => {
  const { ended, connections, bind } = await setUp(t);
  const { agent, socket } = await bind();
  connections.forget('one');
  connections.forget('none');
  agent.destroy();
  await once(socket, 'close');
  t.strictSame(ended, []);
});

t.test('bind: a lease ends with the connection that it was bound to last', async (t) => {
  const { ended, bind } = await setUp(t);
  const first = await bind();
  const second = await bind();
  first.agent.destroy();
  await once(first.socket, 'close');
  t.strictSame(ended, [], 'the second one is open');
  second.agent.destroy();
  await once(second.socket, 'close');
  t.strictSame(ended, ['one']);
});

t.test(
  'bind: a connection that was closed meanwhile takes no lease from an open one',
  async (t) => {
    const { ended, connections, ask, bind, handle } = await setUp(t);
    const open = await bind();
    const handled = handle(async (incoming, response) => {
      await once(incoming.socket, 'end');
      connections.bind(incoming, response, 'one');
    });
    const { outgoing } = ask();
    await once(outgoing, 'finish');
    outgoing.destroy();
    await handled;
    t.strictSame(ended, []);
    open.agent.destroy();
    await once(open.socket, 'close');
    t.strictSame(ended, ['one']);
  },
);

t.test('bind: a lease ends at once where its holder reset the connection before', async (t) => {
  const { ended, connections, ask, handle } = await setUp(t);
  const handled = handle(async (incoming, response) => {
    outgoing.socket?.resetAndDestroy();
    await new Promise((resolve) => incoming.socket.once('close', resolve));
    t.equal(incoming.socket.readableEnded, false, 'not closed in order');
    connections.bind(incoming, response, 'one');
  });
  const { outgoing } = ask();
  await handled;
  t.strictSame(ended, ['one']);
});

t.test('bind: what daxd closed keeps no lease, and ends none', async (t) => {
  const { ended, connections, ask, bind, handle } = await setUp(t);
  const { socket } = await bind();
  socket.destroy();
  await once(socket, 'close');
  t.strictSame(ended, []);
  const handled = handle((incoming, response) => {
    incoming.socket.destroy();
    connections.bind(incoming, response, 'two');
  });
  ask();
  await handled;
  t.strictSame(ended, [], 'destroyed before it was bound');
});
