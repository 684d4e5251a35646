import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { MIB } from '../../../../src/lib/units.js';
import {
  debugfsWrite,
  fsck,
  makeImage,
  runJudge,
  sha256Of,
  withLoopMount,
} from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { mountImage } from './set-up.js';

/** Features by how daxd must take them. */
const REFUSED = [
  'inline_data',
  '^metadata_csum',
  'encrypt',
  '^extent,^64bit',
  'casefold',
  'ea_inode',
];
const READ_ONLY = ['quota', 'project,quota', 'bigalloc', 'verity'];

t.test('ext4.md 7.17: refuses or only reads what has features that it does not know', async (t) => {
  if (!requires(t, { commands: ['mke2fs'] })) return;
  const directory = scratchDirectory(t);
  for (const features of [...REFUSED, ...READ_ONLY]) {
    const image = join(directory, 'image');
    makeImage(image, 32 * MIB, ['-O', features]);
    const before = sha256Of(image);
    if (REFUSED.includes(features)) {
      await t.rejects(mountImage(image), { code: 'EOPNOTSUPP', name: 'DaxdError' }, features);
    } else {
      const { fs, warnings, close } = await mountImage(image);
      t.equal(fs.readOnly, true, features);
      t.match(warnings, [/read-only/], features);
      t.match([...fs.readdir(fs.lookup(''))], [{ name: Buffer.from('lost+found') }]);
      await t.rejects(fs.mkdir('x'), { code: 'EROFS', name: 'DaxdError' });
      await close();
    }
    t.equal(sha256Of(image), before, `${features}: not a byte changed`);
  }
});

t.test('mountExt4: other block sizes and other formats are refused', async (t) => {
  if (!requires(t, { commands: ['mke2fs'] })) return;
  const image = join(scratchDirectory(t), 'image');
  writeFileSync(image, Buffer.alloc(16 * MIB, 0x5a));
  await t.rejects(mountImage(image), { code: 'EINVAL', name: 'DaxdError' });
  runJudge('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', '1024', image]);
  await t.rejects(mountImage(image), { code: 'EOPNOTSUPP', name: 'DaxdError' });
  runJudge('mke2fs', ['-q', '-F', '-t', 'ext2', '-b', '4096', image]);
  await t.rejects(mountImage(image), { code: 'EOPNOTSUPP', name: 'DaxdError' });
});

t.test('mountExt4: what needs a repair comes back read-only and names e2fsck -fy', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'debugfs'] })) return;
  const directory = scratchDirectory(t);
  const damaged = {
    'not unmounted': ['ssv state 0'],
    'has errors': ['ssv state 3'],
  };
  for (const [title, requests] of Object.entries(damaged)) {
    const image = join(directory, 'image');
    makeImage(image, 32 * MIB);
    debugfsWrite(image, requests);
    const before = sha256Of(image);
    const { fs, warnings, close } = await mountImage(image);
    t.equal(fs.readOnly, true, title);
    t.match(warnings, [/read-only.*e2fsck -fy/], title);
    await t.rejects(fs.create('x'), { code: 'EROFS', message: /e2fsck -fy/ }, title);
    await close();
    t.equal(sha256Of(image), before, `${title}: not a byte changed`);
  }
});

t.test('mountExt4: read-only over an orphan that is none, not a byte changed', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'debugfs'] })) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 32 * MIB);
  debugfsWrite(image, ['ssv last_orphan 13']);
  const before = sha256Of(image);
  const { fs, warnings, close } = await mountImage(image);
  t.match(warnings, [/read-only.*inode 13 is free.*e2fsck -fy/]);
  await t.rejects(fs.create('x'), { code: 'EROFS', message: /inode 13 is free/ });
  await close();
  t.equal(sha256Of(image), before);
});

t.test('mountExt4: a daxd that was killed loses nothing that it answered', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'e2fsck'] })) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 32 * MIB);
  const killed = await mountImage(image);
  await killed.fs.mkdir('made');
  // As SIGKILL leaves it: closed without an unmount.
  await killed.backing.close();

  const after = await mountImage(image);
  t.equal(after.fs.readOnly, false);
  t.strictSame(after.warnings, []);
  t.equal(after.fs.stat(after.fs.lookup('made')).type, 'directory', 'what was answered is there');
  await after.close();
  t.match(fsck(image), { status: 0 });
});

t.test('mountExt4: clean after unmount, and the counters are right', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'e2fsck', 'dumpe2fs'] })) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 32 * MIB);
  const { fs, close } = await mountImage(image);
  t.match(runJudge('dumpe2fs', ['-h', image]).output, /needs_recovery/);
  await fs.mkdir('a');
  const { freeBytes, freeInodes } = fs.statfs();
  await close();
  const header = runJudge('dumpe2fs', ['-h', image]).output;
  t.match(header, /Filesystem state: +clean/);
  t.notMatch(header, /needs_recovery/);
  t.match(header, new RegExp(`Free blocks: +${freeBytes / 4096}\n`));
  t.match(header, new RegExp(`Free inodes: +${freeInodes}\n`));
  t.match(fsck(image), { status: 0 });
  t.throws(() => fs.lookup(''), { code: 'ESHUTDOWN', name: 'DaxdError' });
  await t.rejects(fs.mkdir('b'), { code: 'ESHUTDOWN', name: 'DaxdError' });
});

t.test('mountExt4: the image of a busy kernel mount has its journal replayed', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'mount', 'cp'], root: true })) return;
  const directory = scratchDirectory(t);
  const image = join(directory, 'image');
  makeImage(image, 32 * MIB);
  const copy = join(directory, 'copy');
  await withLoopMount(image, 'rw', (mounted) => {
    writeFileSync(join(mounted, 'file'), 'x');
    runJudge('sync', ['-f', mounted]);
    runJudge('cp', [image, copy]);
  });
  const { fs, warnings, close } = await mountImage(copy);
  t.equal(fs.readOnly, false);
  t.strictSame(warnings, []);
  const content = Buffer.alloc(1);
  fs.read(fs.lookup('file'), 0, content);
  t.equal(content.toString(), 'x');
  await close();
  t.match(fsck(copy), { status: 0 });
});
