import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { MIB } from '../../../../src/lib/units.js';
import {
  debugfs,
  fsck,
  kernelTree,
  makeImage,
  scratchDirectory,
  withLoopMount,
} from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { mountImage, ownTree } from './set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs', 'mount'], root: true };

/** A name whose length varies, so that the leaves are filled unevenly. */
function nameOf(i: number): string {
  return `name-${i}-${'x'.repeat((i * 7) % 60)}`;
}

function longName(i: number): string {
  return `${'l'.repeat(230)}-${i}`;
}

async function makeIndexed(image: string, count: number): Promise<string[]> {
  makeImage(image, 96 * MIB, ['-N', String(count + 100)]);
  return await withLoopMount(image, 'rw', (directory) => {
    mkdirSync(join(directory, 'big'));
    for (let i = 0; i < count; i++) writeFileSync(join(directory, 'big', nameOf(i)), '');
    return kernelTree(directory);
  });
}

t.test('a directory that the kernel indexed: listed, unlinked from, still indexed', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  const theirs = await makeIndexed(image, 3000);
  const { fs, close } = await mountImage(image);
  t.strictSame(await ownTree(fs), theirs);
  for (let i = 0; i < 3000; i += 13) await fs.unlink(`big/${nameOf(i)}`);
  t.throws(() => fs.lookup(`big/${nameOf(13)}`), { code: 'ENOENT', name: 'DaxdError' });
  const ours = await ownTree(fs);
  await close();

  t.match(fsck(image), { status: 0 });
  t.match(debugfs(image, 'htree_dump /big'), /Root node dump/, 'the index is kept');
  await withLoopMount(image, 'rw', (directory) => {
    t.strictSame(kernelTree(directory), ours);
    writeFileSync(join(directory, 'big/by-the-kernel'), '');
  });
  t.match(fsck(image), { status: 0 });
});

t.test('a directory that the kernel indexed: create and rename make it linear', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  await makeIndexed(image, 3000);
  const { fs, close } = await mountImage(image);
  await fs.mkdir('other');
  await fs.rename(`big/${nameOf(7)}`, 'other/from-an-index');
  t.match(fsck(image), { status: 0 });
  await fs.rename(`big/${nameOf(8)}`, `big/${nameOf(9)}`);
  t.match(fsck(image), { status: 0 }, 'replaced in place, the index is kept');
  t.match(debugfs(image, 'htree_dump /big'), /Root node dump/);
  await fs.rename('big', 'other/big');
  t.match(fsck(image), { status: 0 }, 'the ".." of an index root has the index checksum');
  for (let i = 0; i < 60; i++) await fs.create(`other/big/${'n'.repeat(100)}-${i}`);
  await fs.rename('other/from-an-index', 'other/big/back');
  await fs.mkdir('other/big/sub');
  const ours = await ownTree(fs);
  await close();

  t.match(fsck(image), { status: 0 });
  t.notMatch(debugfs(image, 'htree_dump /other/big'), /Root node dump/, 'the index is gone');
  await withLoopMount(image, 'ro', (directory) => {
    t.strictSame(kernelTree(directory), ours);
  });
});

t.test('an index of two levels: read, unlinked from, made linear', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 96 * MIB);
  const count = 8500;
  await withLoopMount(image, 'rw', (directory) => {
    mkdirSync(join(directory, 'big'));
    for (let i = 0; i < count; i++) writeFileSync(join(directory, 'big', longName(i)), '');
  });
  t.match(debugfs(image, 'htree_dump /big'), /Indirect levels: 1/);
  const { fs, close } = await mountImage(image);
  const big = fs.lookup('big');
  t.equal([...fs.readdir(big)].length, count);
  await fs.unlink(`big/${longName(77)}`);
  t.match(fsck(image), { status: 0 });
  await fs.create('big/new');
  t.match(fsck(image), { status: 0 });
  t.equal([...fs.readdir(big)].length, count);
  await close();
  await withLoopMount(image, 'rw', (directory) => {
    writeFileSync(join(directory, 'big/by-the-kernel'), '');
    t.equal(kernelTree(directory).length, count + 2);
  });
  t.match(fsck(image), { status: 0 });
});

t.test('readdir: entries that stay are listed once while others come and go', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  await makeIndexed(image, 1000);
  const { fs, close } = await mountImage(image);
  const seen: string[] = [];
  let round = 0;
  for (const { name } of fs.readdir(fs.lookup('big'))) {
    seen.push(name.toString());
    if (round++ % 50 === 0) await fs.create(`big/new-${round}`);
  }
  const old = seen.filter((name) => name.startsWith('name-'));
  t.equal(new Set(old).size, 1000);
  t.equal(old.length, 1000);

  await fs.mkdir('gone');
  await fs.create('gone/file');
  const listing = fs.readdir(fs.lookup('gone'))[Symbol.iterator]();
  t.equal(listing.next().value?.name.toString(), 'file');
  await fs.unlink('gone/file');
  await fs.unlink('gone');
  t.equal(listing.next().done, true, 'a removed directory ends its listing');
  await close();
});
