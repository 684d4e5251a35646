import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { UsageRef } from '../../../src/lib/usage-ref.js';

t.test('tryGet: refused once the ref is dying, and nothing is taken', async (t) => {
  const ref = new UsageRef();
  t.ok(ref.tryGet(3));
  ref.kill();
  t.notOk(ref.tryGet());
  t.equal(ref.count, 3);
});

t.test('whenZero: settles with the last put, not before', async (t) => {
  const ref = new UsageRef();
  ref.tryGet(2);
  ref.kill();
  let isZero = false;
  const waited = ref.whenZero().then(() => (isZero = true));
  ref.put();
  await Promise.resolve();
  t.notOk(isZero, 'one use is left');
  ref.put();
  await waited;
  t.ok(isZero);
});

t.test('whenZero: settles at once where nothing was in use', async (t) => {
  const ref = new UsageRef();
  ref.kill();
  await ref.whenZero();
  t.equal(ref.count, 0);
});

t.test('put, whenZero: misuse breaks an invariant', async (t) => {
  t.throws(() => new UsageRef().put(), InvariantError);
  await t.rejects(new UsageRef().whenZero(), InvariantError);
});
