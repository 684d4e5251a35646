import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { MIB } from '../../../../src/lib/units.js';
import { kernelTree, makeImage, runJudge, withLoopMount } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { finish, mountEmpty, mountImage, ownTree, refuses } from './set-up.js';

/** Judges that make an image and check it. */
const JUDGES = { commands: ['mke2fs', 'e2fsck'] };

t.test('create, mkdir, symlink: what is made is there, and only once', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = await mountEmpty(t);
  const { fs } = image;
  const file = await fs.create('file');
  t.match(fs.stat(file), { type: 'file', size: 0, nlink: 1, mode: 0o100644, blocks: 0 });
  const directory = await fs.mkdir('directory');
  t.match(fs.stat(directory), {
    type: 'directory',
    size: 4096,
    nlink: 2,
    mode: 0o40755,
    blocks: 8,
  });
  t.equal(fs.stat(fs.lookup('')).nlink, 4, 'the root counts lost+found and the new one');
  const link = await fs.symlink('directory/link', '../file');
  t.match(fs.stat(link), {
    type: 'symlink',
    target: '../file',
    size: 7,
    mode: 0o120777,
    blocks: 0,
  });
  t.equal(fs.lookup('directory/link'), file);

  for (const path of ['file', 'directory', 'directory/link', '']) {
    await refuses(t, image, 'EEXIST', () => fs.create(path));
    await refuses(t, image, 'EEXIST', () => fs.mkdir(path));
    await refuses(t, image, 'EEXIST', () => fs.symlink(path, 'x'));
  }
  await refuses(t, image, 'ENOENT', () => fs.create('none/file'));
  await refuses(t, image, 'ENOTDIR', () => fs.mkdir('file/sub'));
  await refuses(t, image, 'EINVAL', () => fs.create('directory/../x'));
  await refuses(t, image, 'ENAMETOOLONG', () => fs.create('n'.repeat(256)));
  await finish(t, image);
});

t.test('symlink: 59 bytes lie in the inode, 60 and 4095 in a block', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = await mountEmpty(t);
  const { fs } = image;
  for (const [length, blocks] of [
    [1, 0],
    [59, 0],
    [60, 8],
    [4095, 8],
  ]) {
    const target = 't'.repeat(length ?? 0);
    const inode = await fs.symlink(`s${length}`, target);
    t.match(fs.stat(inode), { target, size: length, blocks });
  }
  await refuses(t, image, 'ENAMETOOLONG', () => fs.symlink('x', 't'.repeat(4096)));
  await refuses(t, image, 'EINVAL', () => fs.symlink('x', ''));
  await refuses(t, image, 'EINVAL', () => fs.symlink('x', 'a\0b'));
  const free = fs.statfs().freeBytes;
  await fs.unlink('s4095');
  t.equal(fs.statfs().freeBytes, free + 4096, 'its block is free again');
  await finish(t, image);
});

t.test('symlinks: a loop is ELOOP, a dangling one is ENOENT', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = await mountEmpty(t);
  const { fs } = image;
  await fs.symlink('a', 'b');
  await fs.symlink('b', 'a');
  await fs.symlink('nowhere', '/none/at/all');
  t.throws(() => fs.lookup('a'), { code: 'ELOOP', name: 'DaxdError' });
  t.throws(() => fs.lookup('nowhere'), { code: 'ENOENT', name: 'DaxdError' });
  t.equal(fs.stat(fs.lookup('a', { follow: false })).type, 'symlink');
  await fs.unlink('a');
  await fs.rename('nowhere', 'b');
  t.equal(fs.stat(fs.lookup('b', { follow: false })).target, '/none/at/all');
  await finish(t, image);
});

t.test('unlink: files and empty directories go, the rest is refused', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = await mountEmpty(t);
  const { fs } = image;
  const before = fs.statfs();
  await fs.mkdir('d');
  await fs.create('d/f');
  await refuses(t, image, 'ENOTEMPTY', () => fs.unlink('d'));
  await refuses(t, image, 'ENOENT', () => fs.unlink('d/none'));
  await refuses(t, image, 'ENOTDIR', () => fs.unlink('d/f/x'));
  await refuses(t, image, 'EBUSY', () => fs.unlink(''));
  const inode = fs.lookup('d/f');
  await fs.unlink('d/f');
  t.throws(() => fs.stat(inode), { code: 'ENOENT', name: 'DaxdError' });
  await fs.unlink('d');
  t.strictSame(fs.statfs(), before, 'all is free again');
  t.equal(fs.stat(fs.lookup('')).nlink, 3);
  await finish(t, image);
});

t.test('rename: over files, over an empty directory, across parents', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = await mountEmpty(t);
  const { fs } = image;
  for (const path of ['a', 'b', 'a/sub', 'a/sub/deep', 'b/empty', 'full']) await fs.mkdir(path);
  for (const path of ['f1', 'f2', 'full/x']) await fs.create(path);
  const moved = fs.lookup('a/sub');

  await refuses(t, image, 'EINVAL', () => fs.rename('a', 'a/sub/deep/a'));
  await refuses(t, image, 'EINVAL', () => fs.rename('a/sub', 'a/sub/x'));
  await refuses(t, image, 'ENOTEMPTY', () => fs.rename('a/sub', 'full'));
  await refuses(t, image, 'ENOTEMPTY', () => fs.rename('a/sub/deep', 'a'));
  await refuses(t, image, 'ENOTDIR', () => fs.rename('a/sub', 'f1'));
  await refuses(t, image, 'EISDIR', () => fs.rename('f1', 'b/empty'));
  await refuses(t, image, 'ENOENT', () => fs.rename('none', 'f1'));
  await refuses(t, image, 'ENOENT', () => fs.rename('f1', 'none/f1'));
  await refuses(t, image, 'EBUSY', () => fs.rename('', 'x'));
  await refuses(t, image, 'EBUSY', () => fs.rename('a', ''));
  await refuses(t, image, 'EBUSY', () => fs.rename('nothing', ''));

  await fs.rename('a/sub', 'b/empty');
  t.equal(fs.lookup('b/empty'), moved, 'the directory took the place of the empty one');
  t.equal(fs.stat(fs.lookup('a')).nlink, 2);
  t.equal(fs.stat(fs.lookup('b')).nlink, 3);
  await fs.rename('b/empty', 'top');
  t.equal(fs.stat(fs.lookup('b')).nlink, 2);
  await fs.rename('f1', 'f2');
  t.throws(() => fs.lookup('f1'), { code: 'ENOENT', name: 'DaxdError' });
  await fs.rename('f2', 'f2');
  await fs.rename('top', 'top-with-a-longer-name');
  await fs.rename('top-with-a-longer-name', 't');
  t.equal(fs.lookup('t'), moved);
  await finish(t, image);
});

t.test(
  'rename: two names of one inode stay, as POSIX has it; one of two names may go',
  async (t) => {
    if (!requires(t, { commands: ['mke2fs', 'e2fsck', 'ln'] })) return;
    const directory = scratchDirectory(t);
    const source = join(directory, 'source');
    mkdirSync(source);
    writeFileSync(join(source, 'one'), 'content');
    runJudge('ln', [join(source, 'one'), join(source, 'two')]);
    const image = join(directory, 'image');
    makeImage(image, 32 * MIB, ['-d', source]);
    const mounted = await mountImage(image);
    const { fs } = mounted;
    await fs.rename('one', 'two');
    t.equal(fs.stat(fs.lookup('one')).nlink, 2);
    t.equal(fs.lookup('one'), fs.lookup('two'));
    await fs.create('three');
    await fs.rename('three', 'one');
    t.match(fs.stat(fs.lookup('two')), { nlink: 1, size: 7 });
    await fs.unlink('two');
    await finish(t, { ...mounted, image });
  },
);

t.test(
  'names: 255 bytes and every byte that a name may hold, listed by the kernel too',
  async (t) => {
    if (!requires(t, { commands: ['mke2fs', 'mount'], root: true })) return;
    const image = await mountEmpty(t);
    const { fs } = image;
    const names = [
      'n'.repeat(255),
      'é'.repeat(127),
      '\u{1f600} emoji',
      ' ',
      '...',
      '.hidden',
      'a\nb\tc',
      '%2F',
      String.fromCharCode(
        ...Array.from({ length: 126 }, (_, i) => i + 1).filter((c) => c !== 0x2f),
      ),
    ];
    for (const name of names) await fs.create(name);
    const listed = [...fs.readdir(fs.lookup(''))].map(({ name }) => name.toString()).toSorted();
    t.strictSame(listed, [...names, 'lost+found'].toSorted());
    const ours = await ownTree(fs);
    await finish(t, image);
    await withLoopMount(image.image, 'ro', (directory) => {
      t.strictSame(kernelTree(directory), ours);
    });
  },
);

t.test('ENOSPC and no free inode: nothing changes, and what is freed can be used', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = await mountEmpty(t, ['-N', '32']);
  const { fs } = image;
  let made = 0;
  await t.rejects(
    async () => {
      for (; ; made++) await fs.create(`file-${made}`);
    },
    { code: 'ENOSPC', message: /inodes/ },
  );
  t.equal(fs.statfs().freeInodes, 0);
  await refuses(t, image, 'ENOSPC', () => fs.mkdir('d'));
  await fs.unlink('file-0');
  await fs.mkdir('d');
  await finish(t, image);
});
