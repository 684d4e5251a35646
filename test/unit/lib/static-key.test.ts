import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { StaticKey } from '../../../src/lib/static-key.js';

t.test('put: off only when every user is gone', async (t) => {
  const key = new StaticKey();
  t.notOk(key.enabled);
  key.get();
  key.get();
  key.put();
  t.ok(key.enabled, 'one user is left');
  t.equal(key.users, 1);
  key.put();
  t.notOk(key.enabled);
});

t.test('put: without a get it breaks an invariant', async (t) => {
  t.throws(() => new StaticKey().put(), InvariantError);
});
