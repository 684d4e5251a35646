import { existsSync, truncateSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { DaxdError } from '../../../src/lib/errno.js';
import { silentLogger as log } from '../../../src/lib/logger.js';
import type * as FileBackingModule from '../../../src/media/file-backing.js';
import { mapWindows, type MapRequest } from '../../../src/media/map-windows.js';
import type { Mapping } from '../../../src/media/mapping.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { holdLock } from './children.js';

/** A folder with an image of 16 pages that holds 0x5a. */
function setUp(t: Test): { directory: string; image: string } {
  const directory = t.testdir({ 'pmem0.img': Buffer.alloc(65536, 0x5a) });
  return { directory, image: join(directory, 'pmem0.img') };
}

t.test('openBacking: a second opener gets EBUSY with the pid of the first', async (t) => {
  const { image } = setUp(t);
  const pid = await holdLock(t, image);
  for (const readOnly of [false, true]) {
    await t.rejects(openBacking(image, { readOnly, log }), {
      name: 'DaxdError',
      code: 'EBUSY',
      message: new RegExp(`pmem0\\.img is locked by another process, pid ${pid}:`),
    });
  }
});

t.test('close: gives the lock back though the mapping lives on', async (t) => {
  const { image } = setUp(t);
  const first = await openBacking(image, { log });
  await t.rejects(openBacking(image, { log }), {
    name: 'DaxdError',
    code: 'EBUSY',
    message: new RegExp(`pid ${process.pid}:`),
  });
  await first.close();
  const second = await openBacking(image, { log });
  t.equal(first.mapping.view(0, 1)[0], 0x5a, 'the first mapping is still there');
  await second.close();
});

t.test('openBacking: a refused open leaves nothing locked', async (t) => {
  const { image } = setUp(t);
  truncateSync(image, 65537);
  await t.rejects(openBacking(image, { log }), { name: 'DaxdError', code: 'EINVAL' });
  truncateSync(image, 65536);
  const backing = await openBacking(image, { log });
  t.equal(backing.sizeBytes, 65536);
  await backing.close();
});

t.test('open: a mapping that fails half way leaves nothing locked', async (t) => {
  const { directory, image } = setUp(t);
  const created = join(directory, 'new');
  const kept: Mapping[] = [];
  const { FileBacking } = await t.mockImport<typeof FileBackingModule>(
    '../../../src/media/file-backing.js',
    {
      '../../../src/media/map-windows.js': {
        mapWindows(request: MapRequest): never {
          kept.push(mapWindows(request));
          throw new DaxdError('ENOMEM', 'on cue');
        },
      },
    },
  );
  await t.rejects(FileBacking.open(image, { log }), { code: 'ENOMEM', message: 'on cue' });
  await t.rejects(FileBacking.create(created, 4096, { log }), { code: 'ENOMEM' });
  t.equal(kept.length, 2, 'both were mapped, and are');
  t.notOk(existsSync(created));
  const backing = await openBacking(image, { log });
  await backing.close();
});
