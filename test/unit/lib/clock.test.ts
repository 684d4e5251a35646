import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';

import { setPromptTimer, systemClock } from '../../../src/lib/clock.js';

/** Holds the event loop up, as SIGSTOP or a slow disk does. */
function standStill(ms: number): void {
  const untilMs = systemClock.nowMs() + ms;
  while (systemClock.nowMs() < untilMs);
}

t.test('setTimer: what came while the process stood still comes before it', async (t) => {
  const order: string[] = [];
  const server = createServer((socket) => {
    socket.on('data', () => order.push('data'));
    t.teardown(() => socket.destroy());
  }).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const client = connect(port, '127.0.0.1');
  t.teardown(() => client.destroy());
  await Promise.all([once(client, 'connect'), once(server, 'connection')]);

  const fired = new Promise<void>((resolve) => {
    systemClock.setTimer(() => {
      order.push('timer');
      resolve();
    }, 20);
  });
  client.write('renew');
  standStill(400);
  // The timer of this test does not keep the process alive.
  await Promise.race([fired, sleep(5_000)]);
  t.strictSame(order, ['data', 'timer']);
});

t.test('setTimer: cancelled while it waits once more, it does not fire', async (t) => {
  let fired = 0;
  const cancel = systemClock.setTimer(() => fired++, 1);
  standStill(300);
  await sleep(1);
  t.equal(fired, 0);
  cancel();
  await sleep(400);
  t.equal(fired, 0);
});

t.test('setTimer: in time where nothing stands still', async (t) => {
  const startMs = systemClock.nowMs();
  const fired = new Promise<number>((resolve) => {
    systemClock.setTimer(() => {
      resolve(systemClock.nowMs() - startMs);
    }, 30);
  });
  const afterMs = await Promise.race([fired, sleep(10_000, Infinity)]);
  t.ok(afterMs >= 29 && afterMs < 10_000, `after ${afterMs} ms`);
});

t.test('setPromptTimer: at once where the process stood still', async (t) => {
  let fired = 0;
  setPromptTimer(() => fired++, 20);
  const cancel = setPromptTimer(() => (fired += 10), 20);
  cancel();
  standStill(400);
  await sleep(1);
  t.equal(fired, 1);
});
