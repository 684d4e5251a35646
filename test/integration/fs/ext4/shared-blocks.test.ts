/** Metadata blocks that two inodes lead to: their seeds are alike, so the checksum says nothing. */
import t from 'tap';
import type { Test } from 'tap';

import { inodeChecksumSeed } from '../../../../src/fs/ext4/checksum.js';
import { encodeIndex, encodeLeaf } from '../../../../src/fs/ext4/extent-node.js';
import { readNode } from '../../../../src/fs/ext4/extent-tree.js';
import type { Extent } from '../../../../src/fs/ext4/extent.js';
import { initDirectoryBlock, sealDirectoryBlock } from '../../../../src/fs/ext4/directory-block.js';
import { fallocate, zeroRange } from '../../../../src/fs/ext4/file-space.js';
import { writeFile } from '../../../../src/fs/ext4/file-write.js';
import {
  IndexTable,
  initIndexNode,
  initIndexRoot,
  sealIndexBlock,
  setIndexLevels,
} from '../../../../src/fs/ext4/htree.js';
import { readInode } from '../../../../src/fs/ext4/inode.js';
import type { Inode } from '../../../../src/fs/ext4/inode.js';
import { BLOCK_SIZE, InodeFlag } from '../../../../src/fs/ext4/layout.js';
import { solveWord } from '../../../../src/fs/jbd2/checksum-word.js';
import { requires } from '../../../support/requires.js';
import { forgeBlock, forgeInode, forgeNode } from './forge.js';
import { newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs'];
const REFUSED = { name: 'DaxdError', code: 'EUCLEAN' } as const;

/** An open image, two inodes in it, the seed of the first, and blocks to forge with. */
interface Pair {
  readonly open: OpenImage;
  readonly a: number;
  readonly b: number;
  readonly seed: number;
  readonly base: number;
  /** The generation with which the second one has a seed. */
  readonly generationFor: (seed: number) => number;
}

async function makePair(t: Test, make: (open: OpenImage, path: string) => Promise<number>) {
  const open = await openImage(newImage(t));
  const { volume, fs } = open;
  const a = await make(open, 'a');
  const b = await make(open, 'b');
  const room = await fs.create('room');
  await writeFile(volume, room, 0, Buffer.alloc(64 * BLOCK_SIZE));
  const base = (fs.extents(room)[0]?.mediaOffset ?? 0) / BLOCK_SIZE;
  const { checksumSeed } = volume.superblock;
  const pair: Pair = {
    open,
    a,
    b,
    base,
    seed: readInode(volume, volume, a).checksumSeed,
    generationFor: (seed) => solveWord((word) => inodeChecksumSeed(checksumSeed, b, word), seed),
  };
  return pair;
}

function extentAt(logical: number, physical: number, length: number): Extent {
  return { logical, physical, length, unwritten: false };
}

/** Makes a directory one with an index, in blocks that lie in a row. */
function asIndexed(start: number, length: number): (inode: Inode) => void {
  return (inode) => {
    encodeLeaf(inode.iBlock, [extentAt(0, start, length)]);
    inode.size = length * BLOCK_SIZE;
    inode.flags |= InodeFlag.Index;
  };
}

t.test('mapExtents: a leaf that is right for one file is looked at for another', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { open, a, b, seed, base, generationFor } = await makePair(t, ({ fs }, path) =>
    fs.create(path),
  );
  const shared = [extentAt(0, base + 8, 2), extentAt(4, base + 10, 10)];
  forgeNode(open, base, seed, (node) => encodeLeaf(node, shared));
  forgeNode(open, base + 1, seed, (node) => encodeLeaf(node, [extentAt(6, base + 28, 2)]));
  const leaves = [
    { logical: 0, block: base },
    { logical: 6, block: base + 1 },
  ];
  await forgeInode(open, a, (inode) => {
    encodeIndex(inode.iBlock, leaves.slice(0, 1), 1);
    inode.size = 20 * BLOCK_SIZE;
  });
  const second = (inode: Inode): void => {
    encodeIndex(inode.iBlock, leaves, 1);
    inode.size = 20 * BLOCK_SIZE;
  };
  await forgeInode(open, b, second, generationFor(seed));
  await open.close();

  const { volume, fs, close } = await openImage(open.image);
  t.equal(fs.extents(a).length, 2, 'the first one has it');
  const message = new RegExp(`extent tree of inode ${b}: an extent at 4 is too long`);
  t.throws(() => fs.extents(b), { ...REFUSED, message });
  const range = { offset: 5 * BLOCK_SIZE, length: 4 * BLOCK_SIZE, keepSize: true };
  await t.rejects(zeroRange(volume, b, range), REFUSED);
  await t.rejects(fallocate(volume, b, { ...range, offset: 0 }), REFUSED);
  await t.rejects(writeFile(volume, b, 100, Buffer.alloc(18 * BLOCK_SIZE)), REFUSED);
  await close();
});

t.test('readNode: one that was found right is held against each place of it', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { open, a, seed, base } = await makePair(t, ({ fs }, path) => fs.create(path));
  t.teardown(() => open.close());
  const { volume } = open;
  const tree = { source: volume, volume, inode: readInode(volume, volume, a) };
  forgeNode(open, base, seed, (node) => encodeLeaf(node, [extentAt(4, base + 8, 4)]));
  const index = [2, 9].map((logical) => ({ logical, block: base }));
  forgeNode(open, base + 1, seed, (node) => encodeIndex(node, index, 1));
  t.doesNotThrow(() => readNode(tree, base, 0, { from: 4, to: 8 }));
  t.doesNotThrow(() => readNode(tree, base + 1, 1, { from: 2, to: 10 }));
  t.throws(() => readNode(tree, base, 0, { from: 3, to: 8 }), REFUSED);
  t.throws(() => readNode(tree, base, 0, { from: 4, to: 7 }), REFUSED);
  t.throws(() => readNode(tree, base + 1, 1, { from: 2, to: 9 }), REFUSED);
});

t.test('writeFile: into the hole of a leaf that another file changes meanwhile', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { open, a, b, seed, base, generationFor } = await makePair(t, ({ fs }, path) =>
    fs.create(path),
  );
  const shared = Array.from({ length: 8 }, (_, i) => extentAt(4 * i, base + 8 + i, 1));
  forgeNode(open, base, seed, (node) => encodeLeaf(node, shared));
  const patch = (inode: Inode): void => {
    encodeIndex(inode.iBlock, [{ logical: 0, block: base }], 1);
    inode.size = 40 * BLOCK_SIZE;
    inode.blocks = 9;
  };
  for (const number of [a, b]) {
    await forgeInode(open, number, patch, number === b ? generationFor(seed) : undefined);
  }
  await open.close();

  const { volume, close } = await openImage(open.image);
  const data = Buffer.alloc(2 * BLOCK_SIZE, 1);
  const [first, second] = await Promise.allSettled([
    writeFile(volume, a, 5 * BLOCK_SIZE, data),
    writeFile(volume, b, 5 * BLOCK_SIZE, data),
  ]);
  t.equal(first.status, 'fulfilled');
  const reason = { ...REFUSED, message: new RegExp(`extent tree of inode ${b}: another file`) };
  t.match(second, { status: 'rejected', reason });
  await close();
});

t.test("lookup: a node of one directory's index is not the root of another's", async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { open, a, b, seed, base, generationFor } = await makePair(t, ({ fs }, path) =>
    fs.mkdir(path),
  );
  const leaves = 6;
  forgeBlock(open, base, (root) => {
    initIndexRoot(root, { self: a, parent: 2, hashVersion: 1, leaf: 1 });
    setIndexLevels(root, 1);
    sealIndexBlock(root, seed, 0);
  });
  forgeBlock(open, base + 1, (node) => {
    initIndexNode(node);
    const table = new IndexTable(node, 1);
    table.reset(2);
    // Where a root says its hash and levels, a node has such a pair: a root of a version that is none.
    for (let i = 1; i < leaves; i++) table.insert(i, i < 3 ? 16 * i : 0xffff0000 + 2 * i, 2 + i);
    sealIndexBlock(node, seed, 1);
  });
  for (let i = 0; i < leaves; i++) {
    forgeBlock(open, base + 2 + i, (leaf) => {
      initDirectoryBlock(leaf, a, 2);
      leaf.fill(0, 0, 24);
      leaf.writeUInt16LE(BLOCK_SIZE - 12, 4);
      sealDirectoryBlock(leaf, seed);
    });
  }
  await forgeInode(open, a, asIndexed(base, 2 + leaves));
  // Before, the first block of a directory counted as that of the complement of its seed.
  await forgeInode(open, b, asIndexed(base + 1, 1), generationFor(~seed >>> 0));
  await open.close();

  const { fs, close } = await openImage(open.image, { readOnly: true });
  t.throws(() => fs.lookup('a/x'), { name: 'DaxdError', code: 'ENOENT' });
  t.throws(() => fs.lookup('b/x'), REFUSED);
  await close();
});
