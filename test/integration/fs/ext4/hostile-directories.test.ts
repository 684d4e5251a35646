import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { sealDirectoryBlock } from '../../../../src/fs/ext4/directory-block.js';
import { encodeIndex, encodeLeaf } from '../../../../src/fs/ext4/extent-node.js';
import { mountExt4 } from '../../../../src/fs/ext4/ext4.js';
import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { inodeChecksumSeed } from '../../../../src/fs/ext4/checksum.js';
import { BLOCK_SIZE, EXTENT_BLOCK_MAX } from '../../../../src/fs/ext4/layout.js';
import { readNamedInode } from '../../../../src/fs/ext4/named-inode.js';
import { Superblock } from '../../../../src/fs/ext4/superblock.js';
import { systemClock } from '../../../../src/lib/clock.js';
import { silentLogger } from '../../../../src/lib/logger.js';
import { MIB } from '../../../../src/lib/units.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { bytesOf } from '../../../support/backing-bytes.js';
import { debugfsWrite, makeImage } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { processorMs } from '../../../support/processor-time.js';
import { testSeed } from '../../../support/random-test.js';
import { layoutsOf } from '../../../support/layouts.js';
import { MemoryBacking } from '../../../support/memory-backing.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { SeededRandom } from '../../../support/seeded-random.js';
import { forgeBlock, forgeInode, forgeNode } from './forge.js';
import { tryAll } from './try-all.js';
import { newImage, openImage } from './volume-set-up.js';

const IMAGE_BYTES = 8 * MIB;
const JUDGES = { commands: ['mke2fs', 'debugfs'] };

/** A small tree, as mke2fs makes it: /a/b/c, 30 files, symlinks. */
function makeTree(t: Test, requests: readonly string[] = []): Buffer {
  const directory = scratchDirectory(t);
  const source = join(directory, 'source');
  mkdirSync(join(source, 'a/b/c'), { recursive: true });
  for (let i = 0; i < 30; i++) writeFileSync(join(source, 'a', `file-${i}`), `content ${i}`);
  symlinkSync('a/file-1', join(source, 'short'));
  symlinkSync('x'.repeat(100), join(source, 'long'));
  const image = join(directory, 'image');
  makeImage(image, IMAGE_BYTES, ['-d', source]);
  if (requests.length > 0) debugfsWrite(image, requests);
  return readFileSync(image);
}

/** Mounts bytes; the filesystem works on a copy of them. */
async function mountBytes(bytes: Buffer): Promise<{ fs: Ext4; backing: MemoryBacking }> {
  const backing = new MemoryBacking(bytes.length);
  backing.mapping.write(0, bytes);
  const layouts = layoutsOf();
  const range = new BackingRange(backing, 0, bytes.length);
  const options = { readOnly: false, layouts, log: silentLogger, clock: systemClock };
  return { fs: await mountExt4(range, options), backing };
}

function contentOf(backing: MemoryBacking): string {
  return createHash('sha256').update(bytesOf(backing)).digest('hex');
}

/** Where the first block of a directory of the tree lies, and the seed of its checksum. */
async function locate(bytes: Buffer, path: string): Promise<{ block: Buffer; seed: number }> {
  const { fs } = await mountBytes(bytes);
  const inode = fs.lookup(path);
  const at = fs.extents(inode)[0]?.mediaOffset ?? 0;
  const superblock = new Superblock(bytes.subarray(1024, 2048));
  // mke2fs gives its inodes generation 0.
  const seed = inodeChecksumSeed(superblock.checksumSeed, inode, 0);
  return { block: bytes.subarray(at, at + 4096), seed };
}

/** Every operation on names, each of which may fail with a DaxdError only, and in time. */
async function tryEverything(t: Test, fs: Ext4, title: string): Promise<string[]> {
  const attempts: (() => unknown)[] = [
    () => fs.lookup('a/b/c'),
    () => fs.lookup('a/file-17'),
    () => fs.lookup('short'),
    () => fs.lookup('long'),
    () => [...fs.readdir(fs.lookup(''))].map(({ inode }) => fs.stat(inode)),
    () => [...fs.readdir(fs.lookup('a'))].map(({ inode }) => fs.stat(inode)),
    () => [...fs.readdir(fs.lookup('a/b'))],
    () => fs.create('a/new'),
    () => fs.mkdir('a/b/newdir'),
    () => fs.symlink('a/s', 'target'.repeat(20)),
    () => fs.rename('a/b/c', 'moved'),
    () => fs.rename('a/file-3', 'a/file-4'),
    () => fs.unlink('a/file-5'),
    () => fs.unlink('a/b/newdir'),
    () => fs.unlink('short'),
    () => fs.unlink('long'),
  ];
  return await tryAll(t, title, attempts);
}

t.test('a damaged directory block: EUCLEAN names it, and nothing is stored', async (t) => {
  if (!requires(t, JUDGES)) return;
  const clean = makeTree(t);
  const damages: Record<string, (block: Buffer) => void> = {
    'rec_len 0': (block) => block.writeUInt16LE(0, 24 + 4),
    'rec_len past the end': (block) => block.writeUInt16LE(4096, 24 + 4),
    'a name past its record': (block) => block.writeUInt8(255, 24 + 6),
    'points at the journal': (block) => block.writeUInt32LE(8, 24),
    'points at the root': (block) => block.writeUInt32LE(2, 24),
    'points past the inodes': (block) => block.writeUInt32LE(0xfffffff0, 24),
    '"." is another inode': (block) => block.writeUInt32LE(2, 0),
  };
  for (const [title, damage] of Object.entries(damages)) {
    const bytes = Buffer.from(clean);
    const { block, seed } = await locate(bytes, 'a');
    damage(block);
    sealDirectoryBlock(block, seed);
    const { fs, backing } = await mountBytes(bytes);
    const before = contentOf(backing);
    const named = { code: 'EUCLEAN', message: /^directory inode \d+, block 0/ };
    t.throws(() => fs.lookup('a/file-3'), named, title);
    t.throws(() => [...fs.readdir(fs.lookup('a'))], named, title);
    await t.rejects(fs.create('a/new'), named, title);
    await t.rejects(fs.unlink('a/file-3'), named, title);
    await t.rejects(fs.rename('short', 'a/short'), named, title);
    t.equal(contentOf(backing), before, `${title}: not a byte changed`);
  }

  const bytes = Buffer.from(clean);
  const { block } = await locate(bytes, 'a');
  block.writeUInt8(0x7a, 24 + 8);
  const { fs } = await mountBytes(bytes);
  t.throws(() => fs.lookup('a/file-3'), {
    code: 'EBADMSG',
    message: /^checksum mismatch: directory inode/,
  });
});

t.test('damaged inodes of directories and symlinks: EUCLEAN', async (t) => {
  if (!requires(t, JUDGES)) return;
  for (const [request, path] of [
    ['sif /a size 409600', 'a/none'],
    ['sif /a size 4095', 'a/none'],
    ['sif /a size 0', 'a/none'],
    ['sif /short size 0', 'short'],
    ['sif /short size 60', 'short'],
    ['sif /long size 4096', 'long'],
    ['sif /long size 0', 'long'],
  ] as const) {
    const { fs } = await mountBytes(makeTree(t, [request]));
    t.throws(() => fs.lookup(path), { code: 'EUCLEAN', name: 'DaxdError' }, request);
  }
});

t.test('a directory that lies within itself: no operation loops', async (t) => {
  if (!requires(t, JUDGES)) return;
  const bytes = makeTree(t);
  const { fs: whole } = await mountBytes(bytes);
  const a = whole.lookup('a');
  // /a/b/c names /a now.
  const { block, seed } = await locate(bytes, 'a/b');
  block.writeUInt32LE(a, 24);
  sealDirectoryBlock(block, seed);

  const { fs } = await mountBytes(bytes);
  t.equal(fs.lookup(`a/${'b/c/'.repeat(300)}b`), fs.lookup('a/b'));
  await t.rejects(fs.rename('a', 'a/b/c/x'), { code: 'EINVAL', name: 'DaxdError' });
  await t.rejects(fs.rename('a/b/c', 'x'), { code: 'EUCLEAN', name: 'DaxdError' });
  await t.rejects(fs.unlink('a/b/c'), { code: 'ENOTEMPTY', name: 'DaxdError' });
  await tryEverything(t, fs, 'a loop');
});

/** Makes `fs.mkdir('d')` one of 40,000 extents, each of a block that has no names. */
async function manyExtents(
  t: Test,
  physicalOf: (room: number, logical: number) => number,
): Promise<string> {
  const blocks = 40_000;
  const open = await openImage(newImage(t, [], 200 * MIB));
  const { fs, volume } = open;
  const directory = await fs.mkdir('d');
  const room = await fs.create('room');
  const leaves = Math.ceil(blocks / EXTENT_BLOCK_MAX);
  await fs.fallocate(room, 0, (blocks + leaves + 1) * BLOCK_SIZE, { keepSize: false });
  const owned = fs.extents(room).flatMap(({ mediaOffset, length }) => {
    const first = mediaOffset / BLOCK_SIZE;
    return Array.from({ length: length / BLOCK_SIZE }, (_, i) => first + i);
  });
  const { checksumSeed: seed } = readNamedInode(volume, volume, directory);
  const first = (fs.extents(directory)[0]?.mediaOffset ?? 0) / BLOCK_SIZE;
  const at = (i: number): number => owned[i] ?? 0;
  const extents = Array.from({ length: blocks }, (_, logical) => {
    const physical = logical === 0 ? first : at(leaves + 1 + physicalOf(blocks, logical));
    return { logical, physical, length: 1, unwritten: false };
  });
  for (const physical of new Set(extents.slice(1).map((extent) => extent.physical))) {
    forgeBlock(open, physical, (block) => {
      block.writeUInt16LE(BLOCK_SIZE - 12, 4);
      block.writeUInt16LE(12, BLOCK_SIZE - 8);
      block.writeUInt8(0xde, BLOCK_SIZE - 5);
      sealDirectoryBlock(block, seed);
    });
  }
  const index = Array.from({ length: leaves }, (_, i) => {
    const logical = i * EXTENT_BLOCK_MAX;
    const leaf = extents.slice(logical, logical + EXTENT_BLOCK_MAX);
    forgeNode(open, at(i), seed, (node) => encodeLeaf(node, leaf));
    return { logical, block: at(i) };
  });
  forgeNode(open, at(leaves), seed, (node) => encodeIndex(node, index, 1));
  await forgeInode(open, directory, (inode) => {
    encodeIndex(inode.iBlock, [{ logical: 0, block: at(leaves) }], 2);
    inode.size = blocks * BLOCK_SIZE;
  });
  await open.close();
  return open.image;
}

t.test(
  'a directory of very many extents: a look-up of each block takes its time once',
  async (t) => {
    if (!requires(t, JUDGES)) return;
    // Neighbours on the media would be one extent.
    const image = await manyExtents(t, (blocks, logical) => blocks - logical);
    const opened = await openImage(image, { readOnly: true });
    t.teardown(() => opened.close());
    const startMs = processorMs();
    t.throws(() => opened.fs.lookup('d/x'), { name: 'DaxdError', code: 'ENOENT' });
    t.ok(processorMs() - startMs < 5000, 'no block is looked for among all the others');
  },
);

t.test('a directory that has one block at every place: no scan goes through it', async (t) => {
  if (!requires(t, JUDGES)) return;
  const opened = await openImage(await manyExtents(t, () => 1));
  t.teardown(() => opened.close());
  const twice = { name: 'DaxdError', code: 'EUCLEAN', message: /, block 2: / };
  t.throws(() => opened.fs.lookup('d/x'), twice);
  await t.rejects(opened.fs.unlink('d'), twice);
  await t.rejects(opened.fs.create(`d/${'n'.repeat(200)}`), twice);
});

t.test('bytes flipped at random: nothing but a DaxdError comes out, in time', async (t) => {
  if (!requires(t, JUDGES)) return;
  const seed = testSeed(t);
  const random = new SeededRandom(seed);
  const clean = makeTree(t);
  const places = await Promise.all(['', 'a', 'a/b'].map((path) => locate(clean, path)));
  const offsets = places.map(({ block }) => block.byteOffset - clean.byteOffset);
  let refused = 0;
  for (let i = 0; i < 200; i++) {
    const bytes = Buffer.from(clean);
    const which = random.below(places.length);
    const block = bytes.subarray(offsets[which], (offsets[which] ?? 0) + 4096);
    for (let flips = 1 + random.below(3); flips > 0; flips--) {
      // The entries, not the empty rest of the block.
      block[random.below(400)] = random.below(256);
    }
    const isSealed = i % 4 !== 0;
    if (isSealed) sealDirectoryBlock(block, places[which]?.seed ?? 0);
    const { fs } = await mountBytes(bytes);
    const codes = await tryEverything(t, fs, `seed ${seed}, image ${i}`);
    if (codes.some((code) => code === 'EUCLEAN' || code === 'EBADMSG')) refused++;
  }
  t.ok(refused > 50, `${refused} of 200 images had something to refuse`);
});
