import { setMaxListeners } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { PENDING_CHANGES_MAX } from '../../../../src/dax/layouts.js';
import { MIB } from '../../../../src/lib/units.js';
import { makeImage } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { settle } from '../../../support/settle.js';
import { until } from './orphan-set-up.js';
import { finish, mountImage } from './set-up.js';
import type { MountedFile } from './set-up.js';

/** Judges that make an image and check it. */
const JUDGES = { commands: ['mke2fs', 'e2fsck'] };

/** Files called so, each of a few pages with its name. */
async function withNames(t: Test, names: readonly string[]): Promise<MountedFile> {
  const directory = scratchDirectory(t);
  const source = join(directory, 'source');
  mkdirSync(source);
  for (const name of names) writeFileSync(join(source, name), name.repeat(3000));
  const image = join(directory, 'image');
  makeImage(image, 32 * MIB, ['-d', source]);
  return { ...(await mountImage(image)), image };
}

function placeOf({ fs }: MountedFile, inode: number): number {
  return fs.extents(inode)[0]?.mediaOffset ?? 0;
}

t.test('unlink and rename-over: the name goes at once, the blocks with the last pin', async (t) => {
  if (!requires(t, JUDGES)) return;
  const mounted = await withNames(t, ['one', 'two', 'three']);
  const { fs, pin, unpin, layouts } = mounted;
  for (const change of [
    { path: 'one', run: () => fs.unlink('one') },
    { path: 'two', run: () => fs.rename('three', 'two') },
  ]) {
    const inode = fs.lookup(change.path);
    const { freeBytes } = fs.statfs();
    const page = placeOf(mounted, inode) + 4096;
    pin(page, 4096);
    await change.run();
    t.match([...layouts.pending], [{ inode }]);
    t.equal(fs.stat(inode).nlink, 0, 'the file is there for those who have it');
    t.equal(fs.statfs().freeBytes, freeBytes);
    unpin(page, 4096);
    t.ok(await until(() => layouts.size === 0), 'the barrier is down');
    t.ok(fs.statfs().freeBytes > freeBytes);
  }
  t.throws(() => fs.lookup('one'), { code: 'ENOENT', name: 'DaxdError' });
  t.throws(() => fs.lookup('three'), { code: 'ENOENT', name: 'DaxdError' });
  t.equal(fs.stat(fs.lookup('two')).size, 15000);
  await finish(t, mounted);
});

t.test('unlink: only what lost its last name is waited for', async (t) => {
  if (!requires(t, JUDGES)) return;
  const mounted = await withNames(t, ['one', 'two']);
  const { fs, pin, unpin, layouts } = mounted;
  const one = fs.lookup('one');
  const two = fs.lookup('two');
  const pinned = placeOf(mounted, one);
  pin(pinned, 4096);
  await fs.link('one', 'elsewhere');
  await Promise.all([fs.unlink('one'), fs.rename('two', 'one')]);
  t.equal(layouts.size, 0, 'it has another name');
  t.strictSame([fs.lookup('elsewhere'), fs.lookup('one')], [one, two]);

  await fs.unlink('elsewhere');
  await fs.unlink('one');
  t.match([...layouts.pending], [{ inode: one }]);
  t.throws(() => fs.stat(two), { code: 'ENOENT', name: 'DaxdError' });
  const made = await fs.create('one');
  t.not(made, one, 'the inode is taken until the last page is idle');
  unpin(pinned, 4096);
  await settle();
  t.ok(await until(() => layouts.size === 0));
  t.throws(() => fs.stat(one), { code: 'ENOENT', name: 'DaxdError' });
  await finish(t, mounted);
});

t.test('unlink: more pinned files than are waited for at a time', async (t) => {
  if (!requires(t, JUDGES)) return;
  const mounted = await withNames(t, []);
  const { fs, pin, unpin, layouts } = mounted;
  const free = fs.statfs().freeBytes;
  const pages: number[] = [];
  const names = Array.from({ length: 1100 }, (_, i) => `file-${i}`);
  await Promise.all(
    names.map(async (name) => {
      const inode = await fs.create(name);
      await fs.write(inode, 0, Buffer.from(name));
      pages.push(placeOf(mounted, inode));
      pin(placeOf(mounted, inode), 4096);
    }),
  );
  await Promise.all(names.map((name) => fs.unlink(name)));
  t.equal(layouts.size, 1024, 'the rest leaves room for the changes of others');
  for (const page of pages) unpin(page, 4096);
  t.ok(await until(() => layouts.size === 0));
  // The directory keeps the blocks that it grew by.
  t.ok(fs.statfs().freeBytes > free - 40 * 4096, 'all are freed');
  await finish(t, mounted);
});

t.test('unlink: where too many changes wait already, the blocks come later', async (t) => {
  if (!requires(t, JUDGES)) return;
  const mounted = await withNames(t, ['one', 'two', 'three']);
  const { fs, pin, unpin, layouts } = mounted;
  const [one, two] = [fs.lookup('one'), fs.lookup('two')];
  const page = placeOf(mounted, one);
  pin(page, 4096);
  const abort = new AbortController();
  setMaxListeners(0, abort.signal);
  const firstPfn = page / 4096;
  const waits = Array.from({ length: PENDING_CHANGES_MAX }, (_, i) =>
    layouts.breakLayouts({
      op: 'truncate',
      inode: 1_000_000 + i,
      from: 0,
      to: 4096,
      pages: () => [{ firstPfn, count: 1 }],
      signal: abort.signal,
    }),
  );
  await fs.unlink('one');
  await settle();
  t.equal(fs.stat(one).nlink, 0);
  t.equal(layouts.size, PENDING_CHANGES_MAX);
  await fs.unlink('two');
  t.throws(() => fs.stat(two), { code: 'ENOENT', name: 'DaxdError' }, 'one that need not wait');
  abort.abort();
  await Promise.allSettled(waits);
  await fs.unlink('three');
  t.match([...layouts.pending], [{ op: 'unlink', inode: one, path: 'one' }]);
  unpin(page, 4096);
  t.ok(await until(() => layouts.size === 0));
  t.throws(() => fs.stat(one), { code: 'ENOENT', name: 'DaxdError' });
  await finish(t, mounted);
});
