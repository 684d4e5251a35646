import t from 'tap';
import type { Test } from 'tap';

import { DaxdError } from '../../../../src/lib/errno.js';
import { kernelTree, withLoopMount } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { settle } from '../../../support/settle.js';
import { finish, mountEmpty, ownTree, readAll } from './set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck'] };

async function* piecesOf(...pieces: readonly string[]): AsyncGenerator<Buffer> {
  for (const piece of pieces) yield Buffer.from(piece);
}

/** A source that breaks off in the middle. */
async function* brokenSource(): AsyncGenerator<Buffer> {
  yield Buffer.alloc(100_000, 'x');
  throw new DaxdError('EIO', 'the client went away');
}

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) yield Buffer.alloc(1_000_000, 'y');
}

async function mounted(t: Test) {
  const image = await mountEmpty(t);
  const { fs } = image;
  const contentOf = async (path: string): Promise<string> =>
    (await readAll(fs, fs.lookup(path))).toString();
  return { image, fs, contentOf };
}

t.test('replace: makes a file with its content, and replaces one under its inode', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, fs, contentOf } = await mounted(t);
  const first = await fs.replace('file', piecesOf('hello ', '', 'world'));
  t.strictSame(first, { created: true, inode: fs.lookup('file') });
  t.equal(await contentOf('file'), 'hello world');
  const second = await fs.replace('file', piecesOf('x'.repeat(9000)));
  t.strictSame(second, { created: false, inode: first.inode });
  t.equal(await contentOf('file'), 'x'.repeat(9000));
  t.match(fs.stat(first.inode), { size: 9000, blocks: 24 });
  await fs.replace('file', piecesOf());
  t.match(fs.stat(first.inode), { size: 0, blocks: 0 }, 'no bytes are a content, too');
  await finish(t, image);
});

t.test('replace: what cannot be is refused before a byte is taken in', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, fs } = await mounted(t);
  await fs.mkdir('dir');
  await fs.create('file');
  async function* untouched(): AsyncGenerator<Buffer> {
    t.fail('the source is not read');
    yield Buffer.alloc(0);
  }
  for (const [path, code] of [
    ['dir', 'EISDIR'],
    ['', 'EISDIR'],
    ['none/file', 'ENOENT'],
    ['file/x', 'ENOTDIR'],
    ['a//b', 'EINVAL'],
  ] as const) {
    await t.rejects(fs.replace(path, untouched()), { code, name: 'DaxdError' }, path);
  }
  await finish(t, image);
});

t.test('replace: follows symlinks, a dangling one to where it points', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, fs, contentOf } = await mounted(t);
  await fs.mkdir('dir');
  await fs.symlink('link', 'dir/target');
  t.match(await fs.replace('link', piecesOf('one')), { created: true });
  t.equal(await contentOf('dir/target'), 'one');
  t.match(await fs.replace('link', piecesOf('two')), { created: false });
  t.equal(await contentOf('dir/target'), 'two');
  t.equal(fs.stat(fs.lookup('link', { follow: false })).type, 'symlink');
  await finish(t, image);
});

t.test('replace: a source that fails, and a full filesystem, leave no trace', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, fs, contentOf } = await mounted(t);
  await fs.replace('file', piecesOf('old'));
  const before = fs.statfs();
  const tree = await ownTree(fs);
  await t.rejects(fs.replace('file', brokenSource()), { code: 'EIO', name: 'DaxdError' });
  await t.rejects(fs.replace('new', brokenSource()), { code: 'EIO', name: 'DaxdError' });
  await t.rejects(fs.replace('new', endless()), { code: 'ENOSPC', name: 'DaxdError' });
  await t.rejects(fs.replace('file', endless()), { code: 'ENOSPC', name: 'DaxdError' });
  t.equal(await contentOf('file'), 'old');
  t.strictSame(await ownTree(fs), tree);
  t.strictSame(fs.statfs(), before, 'every block is free again');
  await finish(t, image);
});

t.test('replace: waits for the old pages; until then the old content is there', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, fs, contentOf } = await mounted(t);
  const { inode } = await fs.replace('file', piecesOf('old'));
  const at = fs.extents(inode)[0]?.mediaOffset ?? 0;
  const free = fs.statfs().freeBytes;
  image.pin(at, 4096);

  const abort = new AbortController();
  const cancelled = fs.replace('file', piecesOf('never'), { signal: abort.signal });
  await settle();
  abort.abort();
  await t.rejects(cancelled, { code: 'cancelled', name: 'DaxdError' });
  t.equal(fs.statfs().freeBytes, free, 'what was staged is free again');

  const waiting = fs.replace('file', piecesOf('new'));
  await settle();
  t.equal(await contentOf('file'), 'old');
  t.equal(fs.extents(inode)[0]?.mediaOffset, at);
  image.unpin(at, 4096);
  t.strictSame(await waiting, { created: false, inode });
  t.equal(await contentOf('file'), 'new');
  await finish(t, image);
});

t.test('replace: two at once for one new name, one creates and one replaces', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'mount'], root: true })) return;
  const { image, fs, contentOf } = await mounted(t);
  const results = await Promise.all([
    fs.replace('file', piecesOf('one')),
    fs.replace('file', piecesOf('two')),
  ]);
  t.equal(results.filter(({ created }) => created).length, 1);
  t.ok(['one', 'two'].includes(await contentOf('file')));
  const ours = await ownTree(fs);
  await finish(t, image);
  await withLoopMount(image.image, 'ro', (directory) => {
    t.strictSame(kernelTree(directory), ours);
  });
});
