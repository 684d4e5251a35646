import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { silentLogger } from '../../../src/lib/logger.js';
import { MIB } from '../../../src/lib/units.js';
import { FlushMapping } from '../../../src/media/flush-mapping.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { RawAccess } from '../../../src/media/raw-access.js';
import type { RawMemory } from '../../../src/media/raw-memory.js';

async function rawMemory(t: Test): Promise<RawMemory> {
  const path = join(t.testdir({}), 'image');
  const backing = await openBacking(path, { sizeBytes: MIB, log: silentLogger });
  t.teardown(() => backing.close());
  const memory = backing.rawMemory?.();
  if (memory === undefined) throw new Error('a file has raw memory');
  return { ...memory, persistence: 'msync' };
}

/** How often the file is mapped. */
function maps({ path }: RawMemory): number {
  return readFileSync('/proc/self/maps', 'utf8').split(path).length - 1;
}

t.test('RawAccess: each has a map of its own for msync, and leaves nothing behind', async (t) => {
  const memory = await rawMemory(t);
  const before = maps(memory);
  const descriptors = readdirSync('/proc/self/fd').length;
  const two = [new RawAccess(memory), new RawAccess(memory)];
  t.equal(maps(memory), before + 2);
  t.equal(readdirSync('/proc/self/fd').length, descriptors, 'no descriptor stays open');
  for (const access of two) {
    access.persist(0, MIB);
    access.persist(5000, 1);
    access.close();
  }
  t.equal(maps(memory), before);
  const none = new RawAccess({ ...memory, persistence: 'none' });
  t.equal(maps(memory), before, 'where nothing is flushed there is none');
  none.persist(0, MIB);
  none.close();
});

t.test('FlushMapping: a read-only file, and one that is not open', async (t) => {
  const memory = await rawMemory(t);
  const before = maps(memory);
  new FlushMapping({ ...memory, readOnly: true }).close();
  t.throws(() => new FlushMapping({ ...memory, fd: 2 ** 30 }), { code: 'ENOENT' });
  t.throws(() => new FlushMapping({ ...memory, length: 2 ** 60 }), { code: 'ENOMEM' });
  t.equal(maps(memory), before);
});
