import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { silentLogger } from '../../../src/lib/logger.js';
import { MIB, PAGE_SIZE } from '../../../src/lib/units.js';
import { allocateArena } from '../../../src/media/arena.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { iovecBytes, Iovecs } from '../../../src/nbd/iovecs.js';
import { PagePipe } from '../../../src/nbd/page-pipe.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const SIZE = 4 * MIB;

/** A pipe, mapped bytes for it, and what came out of it, for a file takes them as a socket does. */
async function setUp(t: Test) {
  const directory = scratchDirectory(t);
  const image = join(directory, 'image');
  const bytes = Buffer.alloc(SIZE);
  for (let at = 0; at < SIZE; at += 4) bytes.writeUInt32LE(at, at);
  writeFileSync(image, bytes);
  const backing = await openBacking(image, { log: silentLogger });
  t.teardown(() => backing.close());
  const address = backing.rawMemory?.()?.address ?? 0;
  const sink = join(directory, 'sink');
  const fd = openSync(sink, 'w');
  t.teardown(() => {
    closeSync(fd);
  });
  const pipe = new PagePipe(new Iovecs(allocateArena(iovecBytes(1)), 0, 1));
  t.teardown(() => {
    pipe.close();
  });
  return { pipe, bytes, address, image, fd, came: () => readFileSync(sink) };
}

t.test('fill, drainTo: as much as the pipe holds, from any address', async (t) => {
  const { pipe, bytes, address, fd, came } = await setUp(t);
  t.equal(pipe.fill(address + 4096, SIZE - 4096), MIB);
  pipe.drainTo(fd);
  t.equal(pipe.fill(address + 4096 + MIB + 5, 2 * MIB), MIB - 5, 'as many pages');
  pipe.drainTo(fd);
  const end = 4096 + MIB + 5 + MIB - 5;
  const wanted = [bytes.subarray(4096, 4096 + MIB), bytes.subarray(4096 + MIB + 5, end)];
  t.ok(came().equals(Buffer.concat(wanted)));
});

t.test('drop: what was not drained is gone', async (t) => {
  const { pipe, bytes, address, fd, came } = await setUp(t);
  t.equal(pipe.fill(address, 100_000), 100_000);
  pipe.drop();
  t.equal(pipe.fill(address + MIB, 100_000), 100_000);
  pipe.drainTo(fd);
  t.ok(came().equals(bytes.subarray(MIB, MIB + 100_000)));
});

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

t.test('drop: an empty pipe stays open for the next read', async (t) => {
  const { pipe, address, fd } = await setUp(t);
  const before = openDescriptors();
  t.equal(pipe.fill(address, 100_000), 100_000);
  pipe.drainTo(fd);
  pipe.drop();
  t.equal(openDescriptors(), before + 2);
  t.equal(pipe.fill(address, 100_000), 100_000);
  pipe.drop();
  t.equal(openDescriptors(), before);
});

t.test('fill: nothing of a page that cannot be read, and all in front of it', async (t) => {
  const { pipe, address, image } = await setUp(t);
  truncateSync(image, MIB);
  t.equal(pipe.fill(address + MIB - 2 * PAGE_SIZE, MIB), 2 * PAGE_SIZE);
  pipe.drop();
  t.equal(pipe.fill(address + MIB, MIB), 0);
});
