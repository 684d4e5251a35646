import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { openLog } from '../../../src/daemon/log.js';
import { LogOutput } from '../../../src/daemon/log-output.js';
import { HandClock } from '../lease/set-up.js';

t.test('openLog: warnings at once, the rest a moment later, in order', async (t) => {
  const path = join(t.testdir(), 'log');
  const fd = openSync(path, 'w');
  t.teardown(() => closeSync(fd));
  const clock = new HandClock();
  const log = openLog('info', clock, fd);
  const messages = () =>
    readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
  log.info({ lease: '01A' }, 'one');
  t.strictSame(messages(), []);
  log.warn({}, 'two');
  t.match(messages(), [
    { level: 'info', lease: '01A', msg: 'one' },
    { level: 'warn', msg: 'two' },
  ]);
  log.info({}, 'three');
  log.debug({}, 'not at this level');
  clock.advance(20);
  t.match(messages().at(-1), { msg: 'three' });
  log.info({}, 'four');
  log.flush();
  t.match(messages().at(-1), { msg: 'four' });
});

t.test('LogOutput: a reader that is slow or gone stops nothing', async (t) => {
  const path = join(t.testdir(), 'fifo');
  t.equal(spawnSync('mkfifo', [path]).status, 0);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  t.teardown(() => closeSync(writer));
  const output = new LogOutput(writer);
  const line = `${'x'.repeat(1023)}\n`;
  for (let i = 0; i < 3_000; i++) output.write(line);
  output.flush();
  t.ok(output.dropped > 0, 'more than is kept is dropped');

  const chunk = Buffer.alloc(1 << 20);
  const first = readSync(reader, chunk);
  output.flush();
  t.ok(readSync(reader, chunk) > 0, 'what was kept goes on when the reader does');
  t.ok(first > 0);

  closeSync(reader);
  const before = output.dropped;
  output.write(line);
  output.flush();
  t.ok(output.dropped > before, 'nobody is there any more');
});
