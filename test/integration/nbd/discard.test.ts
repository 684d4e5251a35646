import { openSync, readSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { silentLogger } from '../../../src/lib/logger.js';
import { MIB, PAGE_SIZE } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { openBacking } from '../../../src/media/open-backing.js';
import type { RawMemory } from '../../../src/media/raw-memory.js';
import { RawAccess } from '../../../src/media/raw-access.js';
import { DevPagemap } from '../../../src/mm/dev-pagemap.js';
import { discard } from '../../../src/nbd/discard.js';
import { tryDiscard } from '../../../src/nbd/try-discard.js';

interface SetUp {
  readonly at: { memory: RawMemory; pgmap: DevPagemap; range: BackingRange };
  readonly access: RawAccess;
  /** The first byte of a page of the export, as another opener of the file reads it. */
  readonly byteOf: (page: number) => number;
}

/** An export of pages 1 to 15 of a sparse file of 0xA5. */
async function setUp(t: Test): Promise<SetUp> {
  const path = join(t.testdir(), 'image');
  const other = openSync(path, 'w+');
  truncateSync(path, 4 * MIB);
  writeSync(other, Buffer.alloc(16 * PAGE_SIZE, 0xa5));
  const backing = await openBacking(path, { log: silentLogger });
  t.teardown(() => backing.close());
  const memory = backing.rawMemory?.();
  if (memory === undefined) throw new Error('a file has raw memory');
  const pgmap = new DevPagemap({ range: { start: 0, length: 4 * MIB } });
  const range = new BackingRange(backing, PAGE_SIZE, 15 * PAGE_SIZE);
  const byte = Buffer.alloc(1);
  const byteOf = (page: number): number => {
    readSync(other, byte, 0, 1, (page + 1) * PAGE_SIZE);
    return byte[0] ?? -1;
  };
  const access = new RawAccess(memory);
  t.teardown(() => {
    access.close();
  });
  return { at: { memory, pgmap, range }, access, byteOf };
}

t.test('discard: whole idle pages become a hole; pinned ones and edges are left', async (t) => {
  const { at, access, byteOf } = await setUp(t);
  // Page 4 of the export is page 5 of the backing.
  at.pgmap.refs.get(5);
  const offset = PAGE_SIZE + 100;
  const done = discard(at, { kind: 'punch', offset, length: 6 * PAGE_SIZE });
  t.strictSame(done, {
    left: [
      { offset, length: PAGE_SIZE - 100 },
      { offset: 4 * PAGE_SIZE, length: PAGE_SIZE },
      { offset: 7 * PAGE_SIZE, length: 100 },
    ],
    pinnedPages: 1,
  });
  const bytes = Array.from({ length: 9 }, (_, page) => byteOf(page));
  t.strictSame(bytes, [0xa5, 0xa5, 0, 0, 0xa5, 0, 0, 0xa5, 0xa5]);
  t.equal(access.seekHole(PAGE_SIZE), 3 * PAGE_SIZE, 'the blocks are given back');
  t.equal(access.seekData(3 * PAGE_SIZE), 5 * PAGE_SIZE, 'but not those under the pin');
});

t.test('discard: a range within one page is left whole', async (t) => {
  const { at, byteOf } = await setUp(t);
  const done = discard(at, { kind: 'punch', offset: 10, length: 100 });
  t.strictSame(done, { left: [{ offset: 10, length: 100 }], pinnedPages: 0 });
  t.equal(byteOf(0), 0xa5);
});

t.test('discard: a device has no holes', async (t) => {
  const { at, byteOf } = await setUp(t);
  const memory: RawMemory = { ...at.memory, kind: 'device-dax' };
  const asked = { kind: 'punch', offset: 0, length: PAGE_SIZE } as const;
  t.throws(() => discard({ ...at, memory }, asked), { code: 'EOPNOTSUPP' });
  t.equal(byteOf(0), 0xa5);
});

t.test('tryDiscard: on one byte that nobody pins, or not at all', async (t) => {
  const { at, byteOf } = await setUp(t);
  at.pgmap.refs.get(1);
  const asked = { kind: 'punch', offset: 0, length: 2 * PAGE_SIZE } as const;
  t.equal(tryDiscard(at, { ...asked, length: PAGE_SIZE }), false, 'all of it is pinned');
  t.equal(byteOf(0), 0xa5);
  t.equal(tryDiscard(at, asked), true);
  t.strictSame([byteOf(0), byteOf(1), byteOf(2)], [0xa5, 0, 0xa5]);
  const memory: RawMemory = { ...at.memory, kind: 'device-dax' };
  const other = { ...asked, offset: 2 * PAGE_SIZE };
  t.equal(tryDiscard({ ...at, memory }, other), false);
  t.equal(byteOf(2), 0xa5);
});

t.test('whyBad: a file that shrank, and a hole', async (t) => {
  const { at, access } = await setUp(t);
  t.equal(access.whyBad(2 * MIB, PAGE_SIZE), 'ENOSPC', 'a hole that could not be filled');
  t.equal(access.whyBad(0, PAGE_SIZE), 'EIO');
  truncateSync(at.memory.path, MIB);
  t.equal(access.whyBad(2 * MIB, PAGE_SIZE), 'EIO', 'it lies past the end now');
});

t.test('whyBad: a file of which nothing can be told', async (t) => {
  const { at } = await setUp(t);
  const access = new RawAccess({ ...at.memory, persistence: 'none', fd: 2 ** 30 });
  t.throws(() => access.seekHole(0), { code: 'EIO' });
  t.equal(access.whyBad(0, PAGE_SIZE), 'EIO');
});
