import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { MemoryBacking } from '../../support/memory-backing.js';

t.test('constructor: whole pages of zeros, in windows as asked for', async (t) => {
  const backing = new MemoryBacking(3 * 4096, { windowBytes: 8192 });
  t.equal(backing.mapping.length, 3 * 4096);
  t.ok(backing.mapping.view(0, 8192).equals(Buffer.alloc(8192)));
  t.throws(() => backing.mapping.view(4096, 8192), InvariantError, 'the border is at 8192');
});

t.test('constructor: no bytes, or no whole pages, break an invariant', async (t) => {
  t.throws(() => new MemoryBacking(0), InvariantError);
  t.throws(() => new MemoryBacking(4097), InvariantError);
});

t.test('persist: is counted, unless it is of nothing', async (t) => {
  const backing = new MemoryBacking(4096);
  await backing.persist(0, 0);
  t.equal(backing.persistCount, 0);
  await backing.persist(4095, 1);
  t.equal(backing.persistCount, 1);
});

t.test('persist: rejects with what the hook throws', async (t) => {
  const backing = new MemoryBacking(4096, {
    onPersist() {
      throw new DaxdError('EIO', 'on cue');
    },
  });
  await t.rejects(backing.persist(0, 1), { name: 'DaxdError', code: 'EIO' });
});
