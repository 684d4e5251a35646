import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { openLog } from '../../../src/daemon/log.js';
import { LogOutput } from '../../../src/daemon/log-output.js';
import { DaxdError } from '../../../src/lib/errno.js';
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

t.test('openLog: each line is one JSON object, whatever it carries', async (t) => {
  const path = join(t.testdir(), 'log');
  const fd = openSync(path, 'w');
  t.teardown(() => closeSync(fd));
  const clock = new HandClock();
  const log = openLog('debug', clock, fd);
  const fields = {
    plain: 'file',
    quoted: 'a"b\\c',
    control: 'two\nlines\u007f\u2028',
    unicode: 'größe 🙂 \ud800',
    whole: 4096,
    part: 0.5,
    none: null,
    yes: true,
    list: ['01A', 1],
    object: { pid: 1 },
  };
  log.debug(fields, 'with "quotes"');
  log.info({ left: undefined, nan: NaN, infinite: Infinity }, 'numbers');
  const cause = new DaxdError('EIO', 'the cause');
  log.error({ err: new AggregateError([cause], 'outer', { cause }) }, 'an error');
  log.info({}, 'nothing');
  log.flush();
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  const [first, numbers, error, nothing] = lines.map((line) => JSON.parse(line));
  const time = '2023-11-14T22:30:00.000Z';
  t.strictSame(first, { level: 'debug', time, ...fields, msg: 'with "quotes"' });
  t.strictSame(numbers, { level: 'info', time, nan: null, infinite: null, msg: 'numbers' });
  t.match(error.err, {
    type: 'AggregateError',
    message: 'outer',
    stack: /at /,
    cause: { type: 'DaxdError', code: 'EIO', message: 'the cause' },
    errors: [{ code: 'EIO' }],
  });
  t.strictSame(nothing, { level: 'info', time, msg: 'nothing' });
});

t.test('openLog: the time of each line, within a second and across its end', async (t) => {
  const path = join(t.testdir(), 'log');
  const fd = openSync(path, 'w');
  t.teardown(() => closeSync(fd));
  const clock = new HandClock();
  const log = openLog('info', clock, fd);
  for (const ms of [7, 992, 1.5]) {
    log.info({}, 'tick');
    clock.advance(ms);
  }
  log.warn({}, 'last');
  const times = readFileSync(path, 'utf8').match(/\d\d:\d\d:\d\d\.\d+Z/g);
  t.strictSame(times, ['22:30:00.000Z', '22:30:00.007Z', '22:30:00.999Z', '22:30:01.000Z']);
});

t.test('openLog: silent writes nothing', async (t) => {
  const path = join(t.testdir(), 'log');
  const fd = openSync(path, 'w');
  t.teardown(() => closeSync(fd));
  const log = openLog('silent', new HandClock(), fd);
  log.error({}, 'unheard');
  log.flush();
  t.equal(readFileSync(path, 'utf8'), '');
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
