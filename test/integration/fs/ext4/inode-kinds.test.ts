import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { MIB } from '../../../../src/lib/units.js';
import {
  debugfs,
  debugfsWrite,
  fsck,
  makeImage,
  runJudge,
  withLoopMount,
} from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { finish, mountForTest, mountImage, refuses } from './set-up.js';

/** Orders pairs by their first member. */
function byName([a = '']: readonly string[], [b = '']: readonly string[]): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

t.test(
  'devices, fifos and names that are not UTF-8: listed, and unlinked through their directory',
  async (t) => {
    if (!requires(t, { commands: ['mke2fs', 'mount', 'mknod'], root: true })) return;
    const image = join(scratchDirectory(t), 'image');
    makeImage(image, 32 * MIB);
    await withLoopMount(image, 'rw', (directory) => {
      runJudge('mknod', [join(directory, 'char'), 'c', '1', '3']);
      runJudge('mknod', [join(directory, 'fifo'), 'p']);
      writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0x80, 0xff])]), 'x');
    });
    const mounted = await mountImage(image);
    const { fs } = mounted;
    const listed = [...fs.readdir(fs.lookup(''))].map(({ name, type }) => [
      name.toString('latin1'),
      type,
    ]);
    t.strictSame(
      listed.toSorted(byName),
      [
        ['char', 'char'],
        ['fifo', 'fifo'],
        ['lost+found', 'directory'],
        ['\x80\xff', 'file'],
      ].toSorted(byName),
    );
    await fs.unlink('char');
    await fs.unlink('fifo');
    await finish(t, { ...mounted, image });
  },
);

t.test('unlink: the block of attributes goes with its last user', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'debugfs', 'mount', 'cp'], root: true })) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 32 * MIB);
  await withLoopMount(image, 'rw', (directory) => {
    writeFileSync(join(directory, 'one'), 'x');
    mkdirSync(join(directory, 'dir'));
  });
  const value = 'v'.repeat(600);
  debugfsWrite(image, [`ea_set /one user.large ${value}`, `ea_set /dir user.large ${value}`]);
  await withLoopMount(image, 'rw', (directory) => {
    // The kernel has its files with the same attributes share a block.
    for (const [from, to] of [
      ['one', 'two'],
      ['two', 'three'],
    ]) {
      const args = ['--preserve=xattr', join(directory, from ?? ''), join(directory, to ?? '')];
      t.match(runJudge('cp', args), { status: 0 });
    }
  });
  const block = (path: string): string =>
    /File ACL: (\d+)/.exec(debugfs(image, `stat ${path}`))?.[1] ?? '';
  t.not(block('/one'), '0');
  t.equal(block('/two'), block('/three'), 'one block for two files');
  t.not(block('/dir'), '0');

  const mounted = await mountImage(image);
  t.equal(mounted.fs.stat(mounted.fs.lookup('one')).blocks, 16, 'the block counts');
  for (const name of ['two', 'one', 'dir', 'three']) {
    await mounted.fs.unlink(name);
    t.match(fsck(image), { status: 0 }, `without ${name}`);
  }
  await finish(t, { ...mounted, image });
});

t.test('an immutable file and directory are left alone', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'mount', 'chattr'], root: true })) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 32 * MIB);
  await withLoopMount(image, 'rw', (directory) => {
    writeFileSync(join(directory, 'file'), 'x');
    mkdirSync(join(directory, 'dir'));
    writeFileSync(join(directory, 'dir/inside'), 'x');
    runJudge('chattr', ['+i', join(directory, 'file'), join(directory, 'dir')]);
  });
  const mounted = await mountForTest(t, image);
  const { fs } = mounted;
  await refuses(t, mounted, 'EPERM', () => fs.unlink('file'));
  await refuses(t, mounted, 'EPERM', () => fs.rename('file', 'other'));
  await refuses(t, mounted, 'EPERM', () => fs.create('dir/new'));
  await refuses(t, mounted, 'EPERM', () => fs.unlink('dir/inside'));
});
