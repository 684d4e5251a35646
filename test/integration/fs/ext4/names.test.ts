import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { MIB } from '../../../../src/lib/units.js';
import { fsck, makeImage, scratchDirectory } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { settle } from '../../../unit/mm/set-up.js';
import { finish, mountImage, ownTree } from './set-up.js';

/** Judges that make an image and check it. */
const JUDGES = { commands: ['mke2fs', 'e2fsck'] };

t.test(
  'unlink and rename-over: wait for the last page, then everything is looked up again',
  async (t) => {
    if (!requires(t, { commands: ['mke2fs', 'e2fsck'] })) return;
    const directory = scratchDirectory(t);
    const source = join(directory, 'source');
    mkdirSync(source);
    for (const name of ['one', 'two', 'three'])
      writeFileSync(join(source, name), name.repeat(3000));
    const image = join(directory, 'image');
    makeImage(image, 32 * MIB, ['-d', source]);
    const mounted = await mountImage(image);
    const { fs, pin, unpin, layouts } = mounted;

    for (const change of [
      { path: 'one', run: () => fs.unlink('one') },
      { path: 'two', run: () => fs.rename('three', 'two') },
    ]) {
      const inode = fs.lookup(change.path);
      const [extent] = fs.extents(inode);
      const first = extent?.mediaOffset ?? 0;
      pin(first + 4096, 4096);
      const before = await ownTree(fs);
      let isDone = false;
      const waiting = (async () => {
        await change.run();
        isDone = true;
      })();
      await settle();
      t.notOk(isDone, `${change.path}: a page is pinned`);
      t.strictSame(await ownTree(fs), before, 'nothing changed before the wait ended');
      t.match([...layouts.pending], [{ inode }]);
      unpin(first + 4096, 4096);
      await waiting;
      t.strictSame([...layouts.pending], [], 'the barrier is down');
      t.match(fsck(image), { status: 0 });
    }
    t.throws(() => fs.lookup('one'), { code: 'ENOENT', name: 'DaxdError' });
    t.throws(() => fs.lookup('three'), { code: 'ENOENT', name: 'DaxdError' });
    t.equal(fs.stat(fs.lookup('two')).size, 15000);
    await finish(t, { ...mounted, image });
  },
);

t.test(
  'unlink: a wait that is given up leaves the file; a renamed file is not the victim',
  async (t) => {
    if (!requires(t, JUDGES)) return;
    const directory = scratchDirectory(t);
    const source = join(directory, 'source');
    mkdirSync(source);
    for (const name of ['one', 'two']) writeFileSync(join(source, name), name.repeat(3000));
    const image = join(directory, 'image');
    makeImage(image, 32 * MIB, ['-d', source]);
    const mounted = await mountImage(image);
    const { fs, pin, unpin } = mounted;
    const one = fs.lookup('one');
    const two = fs.lookup('two');
    const at = (inode: number): number => fs.extents(inode)[0]?.mediaOffset ?? 0;

    pin(at(one), 4096);
    const abort = new AbortController();
    const cancelled = fs.unlink('one', { signal: abort.signal });
    await settle();
    abort.abort();
    await t.rejects(cancelled, { code: 'cancelled', name: 'DaxdError' });
    t.equal(fs.lookup('one'), one);

    const waiting = fs.unlink('one');
    await settle();
    await fs.rename('one', 'elsewhere');
    await fs.rename('two', 'one');
    pin(at(two), 4096);
    unpin(at(one), 4096);
    await settle();
    t.equal(fs.lookup('one'), two, 'the other file has the name now, and is waited for');
    unpin(at(two), 4096);
    await waiting;
    t.throws(() => fs.lookup('one'), { code: 'ENOENT', name: 'DaxdError' });
    t.equal(fs.lookup('elsewhere'), one, 'the file that was waited for first is untouched');
    t.equal(fs.stat(one).size, 9000);
    await finish(t, { ...mounted, image });
  },
);
