import t from 'tap';

import { InodeGates } from '../../../../src/fs/ext4/inode-gates.js';

function nothing(): void {}

/** Work that ends when it is told to, and a log of what started and ended. */
function setUp(): { gates: InodeGates; log: string[]; run: (inode: number, name: string) => Work } {
  const gates = new InodeGates();
  const log: string[] = [];
  return {
    gates,
    log,
    run(inode, name) {
      let end: (error?: Error) => void = nothing;
      const done = gates.run(inode, async () => {
        log.push(`+${name}`);
        await new Promise<void>((resolve, reject) => {
          end = (error) => {
            if (error) reject(error);
            else resolve();
          };
        });
        log.push(`-${name}`);
      });
      return {
        done,
        end: (error) => {
          end(error);
        },
      };
    },
  };
}

interface Work {
  readonly done: Promise<void>;
  readonly end: (error?: Error) => void;
}

t.test('run: in order of arrival for one inode, others pass', async (t) => {
  const { gates, log, run } = setUp();
  const a = run(1, 'a');
  const b = run(1, 'b');
  const c = run(2, 'c');
  t.strictSame(log, ['+a', '+c']);
  c.end();
  a.end();
  await a.done;
  await Promise.resolve();
  t.strictSame(log, ['+a', '+c', '-c', '-a', '+b']);
  b.end();
  await Promise.all([b.done, c.done, gates.whenIdle()]);
  t.equal(log.at(-1), '-b');
});

t.test('run: what fails lets the next one in', async (t) => {
  const { gates, run } = setUp();
  const a = run(1, 'a');
  const b = run(1, 'b');
  a.end(new Error('failed'));
  await t.rejects(a.done, { message: 'failed' });
  await Promise.resolve();
  b.end();
  await b.done;
  await gates.whenIdle();
});

t.test('whenIdle: settles after the last one', async (t) => {
  const { gates, log, run } = setUp();
  const a = run(1, 'a');
  const idle = gates.whenIdle().then(() => log.push('idle'));
  a.end();
  await idle;
  t.strictSame(log, ['+a', '-a', 'idle']);
});

t.test('isBusy: from the first to the last that runs or waits', async (t) => {
  const { gates, run } = setUp();
  t.notOk(gates.isBusy(12));
  const first = run(12, 'first');
  const second = run(12, 'second');
  t.ok(gates.isBusy(12));
  t.notOk(gates.isBusy(13));
  first.end();
  await first.done;
  t.ok(gates.isBusy(12));
  await Promise.resolve();
  second.end();
  await second.done;
  t.notOk(gates.isBusy(12));
});
