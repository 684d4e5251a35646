import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { MIB } from '../../../../src/lib/units.js';
import {
  debugfs,
  fsck,
  kernelTree,
  makeImage,
  withLoopMount,
} from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { finish, mountEmpty, mountImage, ownTree } from './set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs', 'mount'], root: true };

/** A name whose length varies, so that the leaves are filled unevenly. */
function nameOf(i: number): string {
  return `name-${i}-${'x'.repeat((i * 7) % 60)}`;
}

function longName(i: number): string {
  return `${'l'.repeat(230)}-${i}`;
}

async function makeIndexed(image: string, count: number): Promise<string[]> {
  makeImage(image, 96 * MIB, ['-N', String(count + 1000)]);
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

t.test('a directory that the kernel indexed: create and rename keep the index', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  await makeIndexed(image, 3000);
  const { fs, close } = await mountImage(image);
  await fs.mkdir('other');
  await fs.rename(`big/${nameOf(7)}`, 'other/from-an-index');
  await fs.rename(`big/${nameOf(8)}`, `big/${nameOf(9)}`);
  await fs.rename('big', 'other/big');
  const names = Array.from({ length: 500 }, (_, i) => `other/big/${'n'.repeat(100)}-${i}`);
  await Promise.all(names.map((name) => fs.create(name)));
  await fs.rename('other/from-an-index', 'other/big/back');
  await fs.mkdir('other/big/sub');
  const ours = await ownTree(fs);
  await close();

  t.match(fsck(image), { status: 0 }, 'the ".." of an index root has the index checksum too');
  t.match(debugfs(image, 'htree_dump /other/big'), /Root node dump/, 'the index is there');
  await withLoopMount(image, 'ro', (directory) => {
    t.strictSame(kernelTree(directory), ours);
  });
});

t.test('an index of two levels: read, unlinked from, added to', async (t) => {
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
  const added = Array.from({ length: 500 }, (_, i) => `big/${longName(count + i)}`);
  await Promise.all(added.map((name) => fs.create(name)));
  t.equal([...fs.readdir(big)].length, count + 499);
  await close();
  t.match(fsck(image), { status: 0 });
  t.match(debugfs(image, 'htree_dump /big'), /Indirect levels: 1/);
  await withLoopMount(image, 'rw', (directory) => {
    writeFileSync(join(directory, 'big/by-the-kernel'), '');
    t.equal(kernelTree(directory).length, count + 501);
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

t.test('readdir: an index whose leaves are split meanwhile lists what stays once', async (t) => {
  if (!requires(t, JUDGES)) return;
  const mounted = await mountEmpty(t);
  const { fs } = mounted;
  await fs.mkdir('big');
  const stay = Array.from({ length: 400 }, (_, i) => nameOf(i));
  await Promise.all(stay.map((name) => fs.create(`big/${name}`)));
  const seen: string[] = [];
  for (const { name } of fs.readdir(fs.lookup('big'))) {
    seen.push(name.toString());
    if (seen.length % 100 !== 1) continue;
    const more = Array.from({ length: 200 }, (_, i) => longName(seen.length * 1000 + i));
    await Promise.all(more.map((name) => fs.create(`big/${name}`)));
  }
  t.strictSame(seen.filter((name) => name.startsWith('name-')).toSorted(), stay.toSorted());
  t.equal(new Set(seen).size, seen.length, 'no name came twice');

  await fs.mkdir('grows');
  for (let i = 0; i < 10; i++) await fs.create(`grows/${longName(i)}`);
  const grown: string[] = [];
  for (const { name } of fs.readdir(fs.lookup('grows'))) {
    grown.push(name.toString());
    if (grown.length > 3) continue;
    for (let i = 0; i < 10; i++) await fs.create(`grows/${longName(grown.length * 100 + i)}`);
  }
  t.equal(new Set(grown).size, grown.length, 'it became indexed meanwhile');
  for (let i = 0; i < 10; i++) t.ok(grown.includes(longName(i)));
  await finish(t, mounted);
});

t.test('create: a directory gets an index with its second block, not before', async (t) => {
  if (!requires(t, JUDGES)) return;
  const mounted = await mountEmpty(t);
  const { fs, image } = mounted;
  await fs.mkdir('small');
  await fs.mkdir('big');
  for (let i = 0; i < 15; i++) await fs.create(`small/${longName(i)}`);
  for (let i = 0; i < 18; i++) await fs.create(`big/${longName(i)}`);
  t.equal(fs.stat(fs.lookup('small')).size, 4096);
  t.equal(fs.stat(fs.lookup('big')).size, 3 * 4096, 'the root and two leaves');
  const names = Array.from({ length: 300 }, (_, i) => `big/${longName(i + 18)}`);
  await Promise.all(names.map((name) => fs.create(name)));
  const { size } = fs.stat(fs.lookup('big'));
  await Promise.all(names.map((name) => fs.unlink(name)));
  await Promise.all(names.map((name) => fs.create(name)));
  t.equal(fs.stat(fs.lookup('big')).size, size, 'the empty leaves are used again');
  await t.rejects(fs.unlink('big'), { code: 'ENOTEMPTY', name: 'DaxdError' });
  await Promise.all(names.map((name) => fs.unlink(name)));
  for (let i = 0; i < 18; i++) await fs.unlink(`big/${longName(i)}`);
  await fs.unlink('big');
  await finish(t, mounted);
  t.notMatch(debugfs(image, 'htree_dump /small'), /Root node dump/);
});

t.test('create: many linear blocks stay linear, and so does all without dir_index', async (t) => {
  if (!requires(t, JUDGES)) return;
  const directory = scratchDirectory(t);
  const source = join(directory, 'source');
  mkdirSync(join(source, 'many'), { recursive: true });
  for (let i = 0; i < 400; i++) writeFileSync(join(source, 'many', nameOf(i)), '');
  for (const args of [
    ['-d', source],
    ['-d', source, '-O', '^dir_index'],
  ]) {
    const image = join(directory, 'image');
    makeImage(image, 32 * MIB, args);
    const { fs, close } = await mountImage(image);
    const { size } = fs.stat(fs.lookup('many'));
    t.ok(size > 4096);
    await fs.mkdir('new');
    for (let i = 0; i < 40; i++) await fs.create(`many/${longName(i)}`);
    if (args.length > 2) for (let i = 0; i < 40; i++) await fs.create(`new/${longName(i)}`);
    t.ok(fs.stat(fs.lookup('many')).size > size, 'it grew');
    await close();
    t.match(fsck(image), { status: 0 });
    t.notMatch(debugfs(image, 'htree_dump /many'), /Root node dump/);
    t.notMatch(debugfs(image, 'htree_dump /new'), /Root node dump/);
  }
});

t.test('create: without a block for a split it is ENOSPC and nothing changes', async (t) => {
  if (!requires(t, JUDGES)) return;
  const mounted = await mountEmpty(t, ['-N', '4000', '-m', '0']);
  const { fs } = mounted;
  await fs.mkdir('big');
  for (let i = 0; i < 60; i++) await fs.create(`big/${longName(i)}`);
  await fs.mkdir('linear');
  for (let i = 0; i < 16; i++) await fs.create(`linear/${longName(i)}`);
  const file = await fs.create('file');
  await fillUp(fs, file);
  const names = (): string[] =>
    [...fs.readdir(fs.lookup('big'))].map(({ name }) => name.toString());
  let made = 60;
  for (; made < 200; made++) {
    const before = names();
    try {
      await fs.create(`big/${longName(made)}`);
    } catch (error) {
      t.match(error, { code: 'ENOSPC' });
      t.strictSame(names(), before);
      break;
    }
  }
  t.ok(made < 200, 'a leaf was full');
  await t.rejects(fs.create(`linear/${longName(99)}`), { code: 'ENOSPC', name: 'DaxdError' });
  await fs.truncate(file, 0);
  await fs.create(`big/${longName(made)}`);
  await fs.create(`linear/${longName(99)}`);
  t.equal(names().length, made + 1);
  await finish(t, mounted);
});

/** Takes the last free block for a file. */
async function fillUp(fs: Ext4, file: number): Promise<void> {
  for (let bytes = 16 * MIB; bytes >= 4096;) {
    try {
      const { size } = fs.stat(file);
      await fs.fallocate(file, size, bytes, { keepSize: false });
    } catch {
      bytes /= 2;
    }
  }
}
