import { linkSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { MIB } from '../../../../src/lib/units.js';
import {
  kernelTree,
  makeImage,
  runJudge,
  sha256Of,
  withLoopMount,
} from '../../../support/ext4-image.js';
import { FIXTURE_EXTENTS, FIXTURE_FILES, unpackKernelNamespace } from '../../../support/fixture.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { digestOf, mountForTest, mountImage, ownTree, readAll } from './set-up.js';

/** Partition 1 of the fixture: dataoff, then the start in its GPT. */
const FIXTURE = { startBytes: 6291456 + MIB, sizeBytes: 64 * MIB, readOnly: true };
const BLOCK = 4096;

/** Blocks differ between the filesystem that a source is on and ext4. */
function withoutBlocks(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/ file (\d+) \d+ /, ' file $1 ')).toSorted();
}

t.test('the fixture: every file as its table says, and no byte changes', async (t) => {
  const image = join(scratchDirectory(t), 'fixture.img');
  await unpackKernelNamespace(image);
  const before = sha256Of(image);
  const { fs, warnings, close } = await mountImage(image, FIXTURE);

  t.equal(fs.label, 'daxdata');
  t.equal(fs.readOnly, true);
  for (const [path, [size, blocks, nlink, sha256]] of Object.entries(FIXTURE_FILES)) {
    const inode = fs.lookup(path);
    t.match(fs.stat(inode), { type: 'file', size, blocks, nlink }, path);
    t.equal(await digestOf(fs, inode), sha256, path);
  }
  t.equal(fs.lookup('hello.txt'), 14);
  t.equal(fs.lookup('dir/hard'), 14);
  for (const [path, expected] of Object.entries(FIXTURE_EXTENTS)) {
    t.strictSame(
      fs
        .extents(fs.lookup(path))
        .map(({ fileOffset, mediaOffset, length, unwritten }) => [
          fileOffset / BLOCK,
          mediaOffset / BLOCK,
          length / BLOCK,
          unwritten,
        ]),
      expected,
      path,
    );
  }
  t.strictSame(warnings, [], 'it was cleanly unmounted');
  await t.rejects(fs.create('x'), { code: 'EROFS', name: 'DaxdError' });
  await close();
  t.equal(sha256Of(image), before);
});

t.test('the fixture: symlink and the directory of 300 files', async (t) => {
  const image = join(scratchDirectory(t), 'fixture.img');
  await unpackKernelNamespace(image);
  const { fs } = await mountForTest(t, image, FIXTURE);

  t.equal(fs.lookup('dir/soft'), 14, 'followed');
  const soft = fs.lookup('dir/soft', { follow: false });
  t.match(fs.stat(soft), { type: 'symlink', target: '../hello.txt', size: 12, blocks: 0 });
  t.throws(() => fs.lookup('dir/soft/x'), { code: 'ENOTDIR', name: 'DaxdError' });
  t.throws(() => fs.lookup('dir/none'), { code: 'ENOENT', name: 'DaxdError' });

  const names = [...fs.readdir(fs.lookup('dir/sub'))].map(({ name }) => name.toString()).toSorted();
  const expected = Array.from({ length: 300 }, (_, i) => `file-${String(i).padStart(4, '0')}.txt`);
  t.strictSame(names, expected);
  for (const i of [0, 7, 42, 299]) {
    const content = await readAll(fs, fs.lookup(`dir/sub/${expected[i]}`));
    t.equal(content.toString().trim(), `n=${i}`);
  }
  t.throws(() => fs.readdir(14), { code: 'ENOTDIR', name: 'DaxdError' });
});

t.test('ext4.md 7.1: an image of mke2fs -d, the tree equals its source', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'mkfifo'] })) return;
  const directory = scratchDirectory(t);
  const source = join(directory, 'source');
  mkdirSync(join(source, 'a/b/c'), { recursive: true });
  mkdirSync(join(source, 'many'));
  for (let i = 0; i < 400; i++) writeFileSync(join(source, 'many', `file-${i}`), `content ${i}`);
  writeFileSync(join(source, 'large'), Buffer.alloc(3 * MIB + 17, 'daxd'));
  writeFileSync(join(source, 'empty'), '');
  writeFileSync(join(source, 'sparse'), 'head');
  truncateSync(join(source, 'sparse'), 5 * MIB + 1);
  writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0x80, 0xff, 0x41])]), 'x');
  writeFileSync(join(source, 'n'.repeat(255)), 'long name');
  writeFileSync(join(source, 'a/ünïcödé'), 'utf-8');
  symlinkSync('fast', join(source, 'a/short'));
  symlinkSync('s/'.repeat(400), join(source, 'a/slow'));
  linkSync(join(source, 'large'), join(source, 'a/b/hard'));
  runJudge('mkfifo', [join(source, 'fifo')]);

  const image = join(directory, 'image');
  makeImage(image, 32 * MIB, ['-d', source]);
  const { fs } = await mountForTest(t, image, { readOnly: true });
  t.strictSame(withoutBlocks(await ownTree(fs)), withoutBlocks(kernelTree(source)));
  t.match(fs.stat(fs.lookup('fifo')), { type: 'fifo', size: 0, nlink: 1 });
  t.equal(fs.lookup('n'.repeat(255)), fs.lookup('n'.repeat(255), { follow: false }));
});

t.test(
  'a kernel mount: devices, times, sizes and holes are read as the kernel shows them',
  async (t) => {
    if (!requires(t, { commands: ['mke2fs', 'mount', 'mknod'], root: true })) return;
    const image = join(scratchDirectory(t), 'image');
    makeImage(image, 32 * MIB);
    const expected = await withLoopMount(image, 'rw', (directory) => {
      runJudge('mknod', [join(directory, 'char'), 'c', '1', '3']);
      runJudge('mknod', [join(directory, 'block'), 'b', '7', '0']);
      writeFileSync(join(directory, 'holes'), 'x');
      truncateSync(join(directory, 'holes'), 7 * MIB + 5);
      runJudge('fallocate', ['-l', '1M', join(directory, 'holes2')]);
      runJudge('touch', ['-d', '2200-01-02T03:04:05.678901234Z', join(directory, 'later')]);
      runJudge('touch', ['-d', '1930-01-02T03:04:05.5Z', join(directory, 'earlier')]);
      return kernelTree(directory);
    });
    const { fs } = await mountForTest(t, image, { readOnly: true });
    t.strictSame(await ownTree(fs), expected);
    t.equal(fs.stat(fs.lookup('char')).type, 'char');
    t.equal(fs.stat(fs.lookup('block')).type, 'block');
    t.equal(fs.stat(fs.lookup('later')).mtimeNs, 7_258_215_845_678_901_234n);
    t.equal(fs.stat(fs.lookup('earlier')).mtimeNs, -1_262_206_554_500_000_000n);
  },
);
