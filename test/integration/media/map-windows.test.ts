import { closeSync, openSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { silentLogger } from '../../../src/lib/logger.js';
import { GIB, MIB } from '../../../src/lib/units.js';
import { mapWindows } from '../../../src/media/map-windows.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const TIB = 1024 * GIB;

/** A sparse file of 4 GiB, whose handle is `handle.fd`. */
function setUp(t: Test): { path: string; handle: { fd: number } } {
  const path = join(scratchDirectory(t), 'image');
  writeFileSync(path, '');
  truncateSync(path, 4 * GIB);
  const fd = openSync(path, 'r+');
  t.teardown(() => {
    closeSync(fd);
  });
  return { path, handle: { fd } };
}

t.test('openBacking: 1 TiB costs what its first window does', async (t) => {
  const path = join(scratchDirectory(t), 'image');
  const before = process.memoryUsage.rss();
  // Time of the processor: unlike that of the clock, nobody else's load counts.
  const start = process.cpuUsage();
  const backing = await openBacking(path, { sizeBytes: TIB, sparse: true, log: silentLogger });
  t.teardown(() => backing.close());
  backing.mapping.write(TIB - 3, Buffer.from('end'));
  await backing.persist(0, TIB);
  t.equal(backing.mapping.view(TIB - 3, 3).toString(), 'end');
  const { user, system } = process.cpuUsage(start);
  const ms = (user + system) / 1000;
  const bytes = process.memoryUsage.rss() - before;
  t.ok(ms < 1000, `${ms} ms, of which mapping all windows would take 10,000`);
  t.ok(bytes < 100 * MIB, `${bytes} bytes`);
});

t.test('mapWindows: a window that cannot be mapped any more is an EIO that names it', async (t) => {
  const { path, handle } = setUp(t);
  const mapping = mapWindows({ path, handle, length: 4 * GIB, readOnly: false });
  mapping.view(3 * GIB, 1);
  const directory = openSync(scratchDirectory(t), 'r');
  t.teardown(() => {
    closeSync(directory);
  });
  handle.fd = directory;
  const window = `window [${GIB}, ${2 * GIB}) of ${path}`;
  t.throws(() => mapping.view(GIB + 5, 1), { code: 'EIO', message: `${window} cannot be mapped` });
  t.throws(() => mapping.view(2 * GIB, 1), { code: 'EIO' }, 'through libc as through mmap-io');
  handle.fd = -1;
  t.throws(() => mapping.view(GIB, 1), { code: 'EIO', message: 'the backing is closed' });
  t.equal(mapping.view(3 * GIB, 1)[0], 0, 'what was touched stays');
  t.equal(mapping.view(0, 1)[0], 0);
});

t.test('mapWindows: what cannot be mapped at all is refused at once, with its errno', async (t) => {
  const { path } = setUp(t);
  const handle = await open(path, 'r');
  t.teardown(() => handle.close());
  const request = { path, handle, length: 4 * GIB, readOnly: false };
  t.throws(() => mapWindows(request), { name: 'DaxdError', code: 'EACCES' });
});

t.test('close: a window that nobody touched stays out of reach', async (t) => {
  const { path } = setUp(t);
  const backing = await openBacking(path, { log: silentLogger });
  backing.mapping.write(3 * GIB, Buffer.from('here'));
  await backing.close();
  t.equal(backing.mapping.view(3 * GIB, 4).toString(), 'here');
  t.throws(() => backing.mapping.view(2 * GIB, 4), { name: 'DaxdError', code: 'EIO' });
});

t.test('dataRuns: what was written, through the map and beside it, and no holes', async (t) => {
  const { path } = setUp(t);
  const backing = await openBacking(path, { log: silentLogger });
  t.teardown(() => backing.close());
  const runs = (offset: number, length: number): number[][] =>
    [...(backing.dataRuns?.(offset, length) ?? [])].map((run) => [run.offset, run.length]);
  t.strictSame(runs(0, 4 * GIB), []);
  backing.mapping.write(GIB - 1, Buffer.from('ab'));
  backing.mapping.write(4 * GIB - 1, Buffer.from('c'));
  t.strictSame(runs(0, 4 * GIB), [
    [GIB - 4096, 8192],
    [4 * GIB - 4096, 4096],
  ]);
  t.strictSame(runs(GIB, GIB), [[GIB, 4096]], 'cut to what was asked for');
  t.strictSame(runs(GIB - 1, 2), [[GIB - 1, 2]]);
  t.strictSame(runs(2 * GIB, GIB), []);
});
