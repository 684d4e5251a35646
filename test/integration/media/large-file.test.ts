import { closeSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { silentLogger } from '../../../src/lib/logger.js';
import { GIB } from '../../../src/lib/units.js';
import type { Backing } from '../../../src/media/backing.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';

const SIZE = 5 * GIB;
/** 0, both limits of a 32-bit int, and every border of a window. */
const PLACES = [0, 1, 2, 3, 4, 5].map((gib) => gib * GIB);

/** A sparse 5 GiB backing and a descriptor that reads and writes the file beside the map. */
async function setUp(t: Test): Promise<{ backing: Backing; fd: number; path: string }> {
  const path = join(temporaryDirectory(t), 'pmem0.img');
  const options = { sizeBytes: SIZE, sparse: true, log: silentLogger };
  const backing = await openBacking(path, options);
  t.teardown(() => backing.close());
  const fd = openSync(path, 'r+');
  t.teardown(() => {
    closeSync(fd);
  });
  return { backing, fd, path };
}

/** 64 bytes that straddle `place`, or lie just within where it is an end of the file. */
function around(place: number): number {
  return Math.min(Math.max(0, place - 32), SIZE - 64);
}

t.test('write: at every border the file gets the bytes, there and nowhere else', async (t) => {
  const { backing, fd, path } = await setUp(t);
  for (const place of PLACES) {
    backing.mapping.write(around(place), Buffer.from(`stored around ${place}`.padEnd(64, '.')));
  }
  for (const place of PLACES) {
    const target = Buffer.alloc(64);
    readSync(fd, target, 0, 64, around(place));
    t.equal(target.toString(), `stored around ${place}`.padEnd(64, '.'));
    backing.mapping.read(around(place), target);
    t.equal(target.toString(), `stored around ${place}`.padEnd(64, '.'));
  }
  await backing.persist(0, SIZE);
  t.equal(backing.persistLatency.count, backing.persistence === 'msync' ? 1 : 0);
  // Ten pages hold all that was stored, and one more block may hold the extent tree: had a
  // window aliased another, there would be fewer.
  const pages = (statSync(path).blocks * 512) / 4096;
  t.ok(pages === 10 || pages === 11, `${pages} pages are allocated`);
});

t.test('read: at every border what the file holds, there and nowhere else', async (t) => {
  const { backing, fd } = await setUp(t);
  for (const place of PLACES) {
    writeSync(fd, `written around ${place}`.padEnd(64, '.'), around(place));
  }
  for (const place of PLACES) {
    const target = Buffer.alloc(64);
    backing.mapping.read(around(place), target);
    t.equal(target.toString(), `written around ${place}`.padEnd(64, '.'));
    // Two pages away nothing was written.
    backing.mapping.read(place === 0 ? 8192 : place - 8192, target);
    t.ok(target.equals(Buffer.alloc(64)));
  }
});

t.test('fill: across the borders at 2 and 4 GiB', async (t) => {
  const { backing, fd } = await setUp(t);
  for (const place of [2 * GIB, 4 * GIB]) {
    backing.mapping.fill(place - 5000, 10000, 0xa5);
    const target = Buffer.alloc(10002);
    readSync(fd, target, 0, 10002, place - 5001);
    const expected = Buffer.alloc(10002, 0xa5);
    expected[0] = 0;
    expected[10001] = 0;
    t.ok(target.equals(expected));
  }
});

t.test('view: the last page of each window is the file there', async (t) => {
  const { backing, fd } = await setUp(t);
  for (const end of PLACES.slice(1)) {
    backing.mapping.view(end - 4096, 4096).write(`last page before ${end}`);
    const target = Buffer.alloc(4096);
    readSync(fd, target, 0, 4096, end - 4096);
    t.match(target.toString('latin1'), `last page before ${end}`);
  }
});
