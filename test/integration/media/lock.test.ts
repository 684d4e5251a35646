import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { silentLogger as log } from '../../../src/lib/logger.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { WINDOW_BYTES } from '../../../src/media/mapping.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { requires } from '../../support/requires.js';
import { holdLock } from './children.js';

/** A folder with an image of 16 pages that holds 0x5a. */
function setUp(t: Test): { directory: string; image: string } {
  const directory = t.testdir({ 'pmem0.img': Buffer.alloc(65536, 0x5a) });
  return { directory, image: join(directory, 'pmem0.img') };
}

/** Runs `work` while this process may have half of `bytes` more address space than it has. */
async function withoutRoomFor(bytes: number, work: () => Promise<void>): Promise<void> {
  const pages = Number(readFileSync('/proc/self/statm', 'latin1').split(' ')[0]);
  limitAddressSpace(pages * PAGE_SIZE + bytes / 2);
  try {
    await work();
  } finally {
    limitAddressSpace('unlimited');
  }
}

function limitAddressSpace(soft: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', `${process.pid}`, `--as=${soft}:`]);
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

t.test(
  'open: a file that cannot be mapped is not left locked, one made for it not at all',
  async (t) => {
    if (!requires(t, { commands: ['prlimit'] })) return;
    const { directory, image } = setUp(t);
    const created = join(directory, 'new');
    truncateSync(image, WINDOW_BYTES);
    await withoutRoomFor(WINDOW_BYTES, async () => {
      await t.rejects(openBacking(image, { log }), { code: 'ENOMEM' });
      const options = { sizeBytes: WINDOW_BYTES, sparse: true, log };
      await t.rejects(openBacking(created, options), { code: 'ENOMEM' });
    });
    t.notOk(existsSync(created));
    const backing = await openBacking(image, { log });
    await backing.close();
  },
);
