import t from 'tap';

import { Devres } from '../../../src/base/devres.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { Gate } from './gate.js';

/** A devres with actions `a`, `b` and `c`, added in that order, of which `b` does `middle`. */
async function setUp(middle: () => void | Promise<void>): Promise<Devres> {
  const devres = new Devres();
  await devres.addActionOrReset('a', () => {});
  await devres.addActionOrReset('b', middle);
  await devres.addActionOrReset('c', async () => {});
  return devres;
}

t.test('releaseAll: runs every action, newest first', async (t) => {
  const devres = await setUp(() => {});
  t.strictSame(devres.releaseLog, [], 'nothing runs before');
  await devres.releaseAll();
  t.strictSame(devres.releaseLog, ['c', 'b', 'a']);
});

t.test('releaseAll: an action begins once the one before it has settled', async (t) => {
  const gate = new Gate();
  const devres = await setUp(() => gate.passed);
  const released = devres.releaseAll();
  await new Promise(setImmediate);
  t.strictSame(devres.releaseLog, ['c', 'b'], 'a waits for b');
  gate.open();
  await released;
  t.strictSame(devres.releaseLog, ['c', 'b', 'a']);
});

t.test('releaseAll: a failure stops no other action and is kept as a cause', async (t) => {
  const failure = new DaxdError('EIO', 'the disk is gone');
  const devres = await setUp(() => {
    throw failure;
  });
  const error: unknown = await devres.releaseAll().catch((error: unknown) => error);
  t.strictSame(devres.releaseLog, ['c', 'b', 'a']);
  t.ok(error instanceof AggregateError);
  t.match(error, { message: 'failed on detach: release of b', errors: [{ cause: failure }] });
});

t.test('releaseAll: a second call breaks an invariant and runs nothing', async (t) => {
  const devres = await setUp(() => {});
  await devres.releaseAll();
  await t.rejects(devres.releaseAll(), InvariantError);
  t.equal(devres.releaseLog.length, 3);
});

t.test('addActionOrReset: after the release it runs the action at once and fails', async (t) => {
  const devres = await setUp(() => {});
  await devres.releaseAll();
  let ran = 0;
  await t.rejects(
    devres.addActionOrReset('late', () => void ran++),
    { name: 'DaxdError', code: 'ESHUTDOWN' },
  );
  t.equal(ran, 1);
  t.equal(devres.releaseLog.at(-1), 'late');
});

t.test('addActionOrReset: an action added by a running release is run, not lost', async (t) => {
  const devres: Devres = await setUp(async () => {
    await devres.addActionOrReset('nested', () => {});
  });
  const error: unknown = await devres.releaseAll().catch((error: unknown) => error);
  t.match(error, { errors: [{ cause: { code: 'ESHUTDOWN' } }] });
  t.strictSame(devres.releaseLog, ['c', 'b', 'nested', 'a']);
});

t.test('addActionOrReset: past the limit it runs the action at once and fails', async (t) => {
  const devres = new Devres();
  for (let i = 0; i < 256; i++) await devres.addActionOrReset(`action ${i}`, () => {});
  await t.rejects(
    devres.addActionOrReset('one more', () => {}),
    { name: 'DaxdError', code: 'ENOMEM' },
  );
  t.strictSame(devres.releaseLog, ['one more']);
  await devres.releaseAll();
  t.equal(devres.releaseLog.length, 257);
});

t.test('addActionOrReset: what the action throws comes out', async (t) => {
  const devres = new Devres();
  await devres.releaseAll();
  const add = devres.addActionOrReset('late', () => {
    throw new DaxdError('EIO', 'the disk is gone');
  });
  await t.rejects(add, { name: 'DaxdError', code: 'EIO' });
});
