import t from 'tap';

import { DaxdError } from '../../../../src/lib/errno.js';
import { MIB } from '../../../../src/lib/units.js';
import { requires } from '../../../support/requires.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck'] };

t.test('fileAt, lookup: a path is looked up anew once any name changed', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await openImage(newImage(t));
  const { fs } = open;
  const leadsTo = (path: string): number | undefined => {
    try {
      // The second time it comes from the cache.
      const found = fs.lookup(path);
      t.equal(fs.fileAt(path).inode, found);
      return found;
    } catch (error) {
      t.match(error, { code: 'ENOENT' });
      return undefined;
    }
  };
  await fs.mkdir('d');
  const one = await fs.create('d/one');
  const two = await fs.create('d/two');
  await fs.symlink('link', 'd/one');
  t.strictSame(['d/one', 'd/two', 'link'].map(leadsTo), [one, two, one]);

  await fs.rename('d/two', 'd/one');
  t.strictSame(['d/one', 'd/two', 'link'].map(leadsTo), [two, undefined, two]);
  await fs.unlink('link');
  await fs.symlink('link', 'd');
  t.equal(leadsTo('link/one'), two);
  await fs.rename('d', 'e');
  t.strictSame(['d/one', 'e/one', 'link/one'].map(leadsTo), [undefined, two, undefined]);
  await fs.unlink('e/one');
  t.equal(leadsTo('e/one'), undefined);
  const again = await fs.create('e/one');
  t.equal(leadsTo('e/one'), again);
  await fs.link('e/one', 'f');
  t.equal(leadsTo('f'), again);
  await closeClean(t, open);
});

t.test('fileAt: says what is there now, and follows a change of the file', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await openImage(newImage(t));
  const { fs } = open;
  const inode = await fs.create('file');
  t.match(fs.fileAt('file'), { inode, type: 'file', size: 0 });
  await fs.write(inode, 0, Buffer.alloc(10_000, 'x'));
  const file = fs.fileAt('file');
  t.match(file, { inode, generation: fs.stat(inode).generation, type: 'file', size: 10_000 });
  t.strictSame(file.extents(4096, 8192), fs.extents(inode, 4096, 8192));
  t.equal(fs.fileAt('').type, 'directory');
  await closeClean(t, open);
});

t.test('fileAt: many paths are remembered by turns', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await openImage(newImage(t));
  const { fs } = open;
  const names = Array.from({ length: 1_100 }, (_, i) => `f${i}`);
  const inodes = await Promise.all(names.map(async (name) => await fs.create(name)));
  for (let round = 0; round < 2; round++) {
    t.strictSame(
      names.map((name) => fs.fileAt(name).inode),
      inodes,
    );
  }
  await closeClean(t, open);
});

t.test('lookup: a name whose commit fails is not remembered', async (t) => {
  if (!requires(t, JUDGES)) return;
  let isBroken = false;
  let seen: number | undefined;
  const open = await openImage(newImage(t, [], 32 * MIB), {
    onPersist: () => {
      if (!isBroken) return;
      seen = open.fs.lookup('a');
      throw new DaxdError('EIO', 'the media are gone');
    },
  });
  isBroken = true;
  await t.rejects(open.fs.create('a'), { code: 'EIO' });
  t.ok(seen, 'it was there while the commit was under way');
  t.throws(() => open.fs.lookup('a'), { code: 'ENOENT', message: /there is no "a"/ });
  await open.close();
});
