import { Worker } from 'node:worker_threads';

import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { SharedUses } from '../../../src/lib/shared-uses.js';
import { UsageRef } from '../../../src/lib/usage-ref.js';

t.test('tryGet: refused once it is dying, and nothing is taken', async (t) => {
  const uses = new SharedUses();
  t.ok(uses.tryGet());
  uses.kill();
  t.notOk(uses.tryGet());
  t.equal(uses.count, 1);
  uses.put(1);
  uses.revive();
  t.ok(uses.tryGet(), 'the next user counts from the start');
});

t.test('put, revive, whenZero: misuse breaks an invariant', async (t) => {
  const uses = new SharedUses();
  t.throws(() => {
    uses.put(1);
  }, InvariantError);
  await t.rejects(new SharedUses().whenZero(), InvariantError);
  const used = new SharedUses();
  used.tryGet();
  t.throws(() => {
    used.revive();
  }, InvariantError);
});

t.test('whenZero of the ref: waits for the uses of another thread', async (t) => {
  const uses = new SharedUses();
  t.ok(uses.tryGet());
  const ref = new UsageRef();
  t.ok(ref.addShare(uses));
  t.equal(ref.count, 1);
  ref.kill();
  t.ok(uses.dying);
  let isZero = false;
  const waited = ref.whenZero().then(() => (isZero = true));
  await new Promise((resolve) => setImmediate(resolve));
  t.notOk(isZero, 'one use is left');
  // The other thread puts as SharedUses does: by the words of its memory.
  const put = `
    const words = new Int32Array(require('node:worker_threads').workerData);
    Atomics.sub(words, 1, 1);
    Atomics.notify(words, 1);`;
  const worker = new Worker(put, { eval: true, workerData: uses.memory });
  await waited;
  t.ok(isZero);
  await worker.terminate();
  ref.dropShare(uses);
  t.notOk(ref.addShare(new SharedUses()), 'a dying ref takes no share');
});
