/** What every kind of backing must do, run over each of them. */
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { silentLogger } from '../../../src/lib/logger.js';
import type { Backing } from '../../../src/media/backing.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { MemoryBacking } from '../../support/memory-backing.js';

const SIZE = 1024 * 1024;

const backings: Readonly<Record<string, (t: Test) => Promise<Backing>>> = {
  MemoryBacking: async () => new MemoryBacking(SIZE),
  'MemoryBacking in windows': async () => new MemoryBacking(SIZE, { windowBytes: 4096 }),
  FileBacking: (t) =>
    openBacking(join(t.testdir({}), 'pmem0.img'), { sizeBytes: SIZE, log: silentLogger }),
  'FileBacking, sparse': (t) =>
    openBacking(join(t.testdir({}), 'pmem0.img'), {
      sizeBytes: SIZE,
      sparse: true,
      log: silentLogger,
    }),
};

for (const [name, open] of Object.entries(backings)) {
  const setUp = async (t: Test): Promise<Backing> => {
    const backing = await open(t);
    t.teardown(() => backing.close());
    return backing;
  };

  t.test(name, async (t) => {
    t.test('open: a new backing is zeros of the asked size', async (t) => {
      const backing = await setUp(t);
      t.match(backing, { sizeBytes: SIZE, alignBytes: 4096, readOnly: false, created: true });
      t.equal(backing.mapping.length, SIZE);
      const all = Buffer.alloc(SIZE, 1);
      backing.mapping.read(0, all);
      t.ok(all.equals(Buffer.alloc(SIZE)));
    });

    t.test('write, fill, read: what was stored comes back, its neighbours too', async (t) => {
      const { mapping } = await setUp(t);
      mapping.fill(4000, 200, 0xa5);
      mapping.write(4090, Buffer.from('0123456789'));
      const around = Buffer.alloc(202);
      mapping.read(3999, around);
      const expected = Buffer.alloc(202, 0xa5);
      expected[0] = 0;
      expected[201] = 0;
      expected.write('0123456789', 91);
      t.ok(around.equals(expected));
    });

    t.test('pread: sees what was stored through the mapping, up to the end', async (t) => {
      const backing = await setUp(t);
      const range = new BackingRange(backing, 4096, SIZE - 4096);
      backing.mapping.fill(SIZE - 5000, 5000, 0xa5);
      const found = Buffer.alloc(6000);
      range.read(SIZE - 4096 - 6000, found);
      t.ok(found.equals(Buffer.concat([Buffer.alloc(1000), Buffer.alloc(5000, 0xa5)])));
      t.throws(() => {
        range.read(SIZE - 4096, Buffer.alloc(1));
      }, InvariantError);
    });

    t.test('view: is live', async (t) => {
      const { mapping } = await setUp(t);
      const view = mapping.view(8192, 4096);
      mapping.write(8192, Buffer.from('stored'));
      t.equal(view.subarray(0, 6).toString(), 'stored');
      view.write('again!');
      const target = Buffer.alloc(6);
      mapping.read(8192, target);
      t.equal(target.toString(), 'again!');
    });

    t.test('persist: settles for any range, and rejects outside', async (t) => {
      const backing = await setUp(t);
      backing.mapping.fill(0, SIZE, 1);
      for (const [offset, length] of [
        [0, SIZE],
        [5, 1],
        [4095, 2],
        [SIZE, 0],
      ] as const) {
        await backing.persist(offset, length);
      }
      await t.rejects(backing.persist(SIZE, 1), InvariantError);
      await t.rejects(backing.persist(-1, 1), InvariantError);
    });

    t.test('persist: a thousand at once settle', async (t) => {
      const backing = await setUp(t);
      const persists = Array.from({ length: 1000 }, (_, i) => backing.persist(i * 1000, 1000));
      t.equal((await Promise.all(persists)).length, 1000);
    });

    t.test('checkSize: passes while nothing shrank', async (t) => {
      const backing = await setUp(t);
      backing.checkSize();
      t.pass('it returned');
    });

    t.test('close: bytes stay readable, persists break an invariant', async (t) => {
      const backing = await open(t);
      backing.mapping.write(0, Buffer.from('kept'));
      await backing.close();
      t.equal(backing.mapping.view(0, 4).toString(), 'kept');
      await t.rejects(backing.persist(0, 1), InvariantError);
    });

    t.test('BackingRange: works over it', async (t) => {
      const backing = await setUp(t);
      const range = new BackingRange(backing, 8192, 8192).slice(4000, 1000);
      range.write(90, Buffer.from('in a slice'));
      await range.persist(90, 10);
      const target = Buffer.alloc(10);
      backing.mapping.read(8192 + 4090, target);
      t.equal(target.toString(), 'in a slice');
    });
  });
}
