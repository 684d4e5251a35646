/** A file with a hole that has as many blocks as bytes. */
import { closeSync, constants, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { silentLogger } from '../../../src/lib/logger.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { requires } from '../../support/requires.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { fillDisk, mountSmallExt4 } from './mounts.js';
import { warnings } from './warnings.js';

const log = silentLogger;

/** A file of 64 extents, whose tree takes a block of its own: as many blocks as pages, and a hole. */
function makeHoley(path: string): number {
  const { O_CREAT, O_RDWR, O_SYNC } = constants;
  const fd = openSync(path, O_CREAT | O_RDWR | O_SYNC);
  const hole = 31;
  const pages = Array.from({ length: 64 }, (_, page) => page).filter((page) => page !== hole);
  for (const odd of [0, 1]) {
    for (const page of pages) {
      if (page % 2 === odd) writeSync(fd, Buffer.alloc(4096, 0x5a), 0, 4096, page * 4096);
    }
  }
  closeSync(fd);
  return hole * 4096;
}

t.test('a hole behind the block of an extent tree is filled', async (t) => {
  if (!requires(t, { commands: ['mkfs.ext4', 'mount'], root: true })) return;
  const mountpoint = mountSmallExt4(t, scratchDirectory(t));
  const path = join(mountpoint, 'pmem0.img');
  const hole = makeHoley(path);
  const { blocks, size } = statSync(path);
  t.equal(blocks * 512, size, 'its blocks do not tell');
  const read = await openBacking(path, { log, readOnly: true });
  t.equal(statSync(path).blocks, blocks, 'one that is only read stays as it is');
  await read.close();
  const { log: heard, messages } = warnings();
  const backing = await openBacking(path, { log: heard });
  t.teardown(() => backing.close());
  t.equal(backing.sparse, false);
  t.equal(statSync(path).blocks * 512, size + 4096);
  t.strictSame(messages, []);
  fillDisk(join(mountpoint, 'filler'));
  backing.mapping.write(hole, Buffer.from('stored'));
  t.equal(readFileSync(path).toString('latin1', hole, hole + 6), 'stored', 'a store has its block');
});

t.test('with a hole that a full disk cannot fill a file is sparse', async (t) => {
  if (!requires(t, { commands: ['mkfs.ext4', 'mount'], root: true })) return;
  const mountpoint = mountSmallExt4(t, scratchDirectory(t));
  const path = join(mountpoint, 'pmem0.img');
  const hole = makeHoley(path);
  fillDisk(join(mountpoint, 'filler'));
  const { log: heard, messages } = warnings();
  const backing = await openBacking(path, { log: heard });
  t.teardown(() => backing.close());
  t.equal(backing.sparse, true);
  t.match(messages, [/the backing is sparse/]);
  t.throws(
    () => {
      backing.allocate?.(hole, 4096);
    },
    { code: 'ENOSPC', message: /is full: free some of it/ },
  );
});
