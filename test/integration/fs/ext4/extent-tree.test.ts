import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import { encodeIndex, encodeLeaf } from '../../../../src/fs/ext4/extent-node.js';
import type { IndexEntry } from '../../../../src/fs/ext4/extent-node.js';
import { eachExtent, mapExtents, treeOf } from '../../../../src/fs/ext4/extent-tree.js';
import type { ExtentTree } from '../../../../src/fs/ext4/extent-tree.js';
import { readFile } from '../../../../src/fs/ext4/file-read.js';
import { fallocate, punchHole } from '../../../../src/fs/ext4/file-space.js';
import { truncateFile } from '../../../../src/fs/ext4/file-truncate.js';
import { writeFile } from '../../../../src/fs/ext4/file-write.js';
import { readInode } from '../../../../src/fs/ext4/inode.js';
import type { Inode } from '../../../../src/fs/ext4/inode.js';
import {
  BLOCK_SIZE,
  EXTENT_BLOCK_MAX,
  FILE_SIZE_MAX,
  InodeFlag,
  ModeType,
} from '../../../../src/fs/ext4/layout.js';
import { crc32c } from '../../../../src/lib/crc32c.js';
import { KIB, MIB } from '../../../../src/lib/units.js';
import { debugfs, debugfsWrite, fsck } from '../../../support/ext4-image.js';
import { unpackKernelNamespace } from '../../../support/fixture.js';
import { requires } from '../../../support/requires.js';
import { forgeInode, forgeNode } from './forge.js';
import { closeClean, debugfsExtents, newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck', 'debugfs'];
const FIXTURE_DATA_OFFSET = 6291456;

function inodeOf({ volume }: OpenImage, number: number): Inode {
  return readInode(volume, volume, number);
}

function treeAt(open: OpenImage, number: number): ExtentTree {
  return treeOf(open.volume, open.volume, inodeOf(open, number));
}

function depthOf(open: OpenImage, number: number): number {
  return inodeOf(open, number).iBlock.readUInt16LE(6);
}

t.test('mapExtents: the fixture as a kernel left it', async (t) => {
  const image = join(t.testdir(), 'namespace');
  await unpackKernelNamespace(image);
  // Partition 1 of the fixture: 64 MiB from LBA 2048 on, see test/fixtures/README.md.
  const open = await openImage(image, {
    readOnly: true,
    startBytes: FIXTURE_DATA_OFFSET + MIB,
    sizeBytes: 64 * MIB,
  });
  t.teardown(() => open.close());
  const extents = (path: string): number[][] =>
    mapExtents(treeAt(open, open.fs.lookup(path))).map((extent) => [
      extent.logical,
      extent.physical,
      extent.length,
      extent.unwritten ? 1 : 0,
    ]);
  t.strictSame(extents('big.txt'), [
    [0, 2579, 2, 0],
    [6, 2585, 704, 0],
  ]);
  t.strictSame(extents('sparse.bin'), [
    [0, 3289, 1, 0],
    [256, 4056, 1, 0],
    [1280, 4568, 1, 0],
    [4352, 5592, 1, 0],
  ]);
  t.strictSame(extents('prealloc.bin'), [[0, 5593, 2048, 1]]);
});

t.test('mapExtents: a span reads what touches it, whole extents', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const inode = await open.fs.create('a');
  for (let i = 0; i < 400; i++)
    await writeFile(open.volume, inode, i * 8192, Buffer.alloc(4096, 1));
  t.equal(depthOf(open, inode), 1, 'the extents need a tree block');
  const all = mapExtents(treeAt(open, inode));
  t.equal(all.length, 400);
  for (const span of [
    { from: 0, to: 1 },
    { from: 10, to: 13 },
    { from: 679, to: 683 },
    { from: 799, to: 5000 },
    { from: 3, to: 4 },
  ]) {
    const own = mapExtents(treeAt(open, inode), span);
    const wanted = all.filter((e) => e.logical < span.to && e.logical + e.length > span.from);
    t.strictSame(own, wanted, `${span.from} to ${span.to}`);
  }
  await closeClean(t, open);
});

t.test('spliceExtents: depth 0, 1, 2 and back, as e2fsck and debugfs count', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const { volume } = open;
  const free = volume.free.blocks;
  const inode = await open.fs.create('a');
  t.equal(depthOf(open, inode), 0);

  const blocks = 3200;
  await fallocate(volume, inode, { offset: 0, length: blocks * BLOCK_SIZE, keepSize: false });
  await writeFile(volume, inode, 0, Buffer.alloc(blocks * BLOCK_SIZE, 7));
  t.equal(depthOf(open, inode), 0);
  const depths = new Set([0]);
  for (let i = 1; i < blocks; i += 2) {
    await punchHole(volume, inode, { offset: i * BLOCK_SIZE, length: BLOCK_SIZE });
    depths.add(depthOf(open, inode));
  }
  t.strictSame([...depths], [0, 1, 2], 'the tree grows level by level');
  const { output, status } = fsck(open.image);
  t.equal(status, 0, output);
  t.equal(inodeOf(open, inode).blocks, blocks / 2 + 5 + 1, 'data, leaves and one index node');
  const own = mapExtents(treeAt(open, inode));
  t.strictSame(debugfsExtents(open.image, inode), own);
  const target = Buffer.alloc(3 * BLOCK_SIZE);
  readFile(volume, inode, 100 * BLOCK_SIZE, target);
  t.strictSame([target[0], target[BLOCK_SIZE], target[2 * BLOCK_SIZE]], [7, 0, 7]);

  await truncateFile(volume, inode, 1000 * BLOCK_SIZE);
  t.equal(depthOf(open, inode), 1);
  await truncateFile(volume, inode, 7 * BLOCK_SIZE);
  t.equal(depthOf(open, inode), 0);
  t.equal(fsck(open.image).status, 0);
  await truncateFile(volume, inode, 0);
  t.equal(volume.free.blocks, free, 'all blocks came back');
  await closeClean(t, open);
});

t.test('writeFile: up to the last byte of 16 TiB, and not past it', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const inode = await open.fs.create('a');
  await writeFile(open.volume, inode, FILE_SIZE_MAX - 1, Buffer.from('z'));
  t.equal(inodeOf(open, inode).size, FILE_SIZE_MAX);
  const target = Buffer.alloc(10);
  t.equal(readFile(open.volume, inode, FILE_SIZE_MAX - 2, target), 2);
  t.strictSame([...target.subarray(0, 2)], [0, 0x7a]);
  await t.rejects(writeFile(open.volume, inode, FILE_SIZE_MAX, Buffer.from('z')), {
    name: 'DaxdError',
    code: 'EFBIG',
  });
  await t.rejects(truncateFile(open.volume, inode, FILE_SIZE_MAX + 1), {
    name: 'DaxdError',
    code: 'EFBIG',
  });
  await t.rejects(fallocate(open.volume, inode, { offset: 0, length: 2 ** 40, keepSize: true }), {
    name: 'DaxdError',
    code: 'ENOSPC',
  });
  await closeClean(t, open);
});

t.test('mapExtents: extents that mke2fs and debugfs write are read alike', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t);
  const source = join(t.testdir(), 'source');
  writeFileSync(source, Buffer.alloc(3 * MIB, 9));
  debugfsWrite(image, [`write ${source} f`]);
  const requests = Array.from({ length: 300 }, (_, i) => `punch f ${2 * i + 1} ${2 * i + 1}`);
  debugfsWrite(image, requests);
  const open = await openImage(image);
  const inode = open.fs.lookup('f');
  t.equal(depthOf(open, inode), 1);
  t.strictSame(mapExtents(treeAt(open, inode)), debugfsExtents(image, inode));
  t.match(debugfs(image, `stat <${inode}>`), `Blockcount: ${inodeOf(open, inode).sectors}`);
  await closeClean(t, open);
});

/** Stores bytes behind the back of the filesystem, which knows what it has verified. */
function storeRaw({ volume }: OpenImage, block: number, bytes: Buffer): void {
  volume.range.write(block * BLOCK_SIZE, bytes);
  volume.cache.drop(block);
}

/** Writes a tree block with its checksum, by the inode's own seed. */
function patchTreeBlock(open: OpenImage, number: number, patch: (node: Buffer) => void): void {
  const inode = inodeOf(open, number);
  const block = inode.iBlock.readUInt32LE(16);
  const node = Buffer.from(open.volume.block(block));
  patch(node);
  node.writeUInt32LE(crc32c(inode.checksumSeed, node.subarray(0, 4092)), 4092);
  storeRaw(open, block, node);
}

t.test('mapExtents: a hostile tree is refused by name, and the walk ends', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  t.teardown(() => open.close());
  const { volume } = open;
  const inode = await open.fs.create('a');
  for (let i = 0; i < 20; i++) await writeFile(volume, inode, i * 8192, Buffer.alloc(4096, 1));
  const self = inodeOf(open, inode).iBlock.readUInt32LE(16);
  const good = Buffer.from(volume.block(self));
  const table = volume.superblock.groupStart(0) + 1;
  const patches: readonly (readonly [string, (node: Buffer) => void])[] = [
    ['no magic', (node) => node.writeUInt16LE(0, 0)],
    ['too many entries', (node) => node.writeUInt16LE(341, 2)],
    ['no entries', (node) => node.writeUInt16LE(0, 2)],
    ['room for more than a block holds', (node) => node.writeUInt16LE(400, 4)],
    ['the depth of the root', (node) => node.writeUInt16LE(1, 6)],
    ['depth without end', (node) => node.writeUInt16LE(60000, 6)],
    ['first entry elsewhere', (node) => node.writeUInt32LE(1, 12)],
    ['entries out of order', (node) => node.writeUInt32LE(0, 24)],
    ['overlap', (node) => node.writeUInt16LE(3, 16)],
    ['empty extent', (node) => node.writeUInt16LE(0, 16)],
    ['past the end of the filesystem', (node) => node.writeUInt32LE(0xfffffff0, 20)],
    ['at block 0', (node) => node.writeUInt32LE(0, 20)],
    ['over the descriptors', (node) => node.writeUInt32LE(table, 20)],
  ];
  for (const [name, patch] of patches) {
    patchTreeBlock(open, inode, patch);
    t.throws(
      () => mapExtents(treeAt(open, inode)),
      { name: 'DaxdError', code: 'EUCLEAN', message: new RegExp(`inode ${inode}\\b`) },
      name,
    );
    storeRaw(open, self, good);
  }

  const loop = Buffer.alloc(BLOCK_SIZE);
  good.copy(loop, 0, 0, 12);
  loop.writeUInt16LE(1, 2);
  loop.writeUInt16LE(1, 6);
  loop.writeUInt32LE(self, 16);
  patchTreeBlock(open, inode, (node) => loop.copy(node));
  t.throws(
    () => mapExtents(treeAt(open, inode)),
    { name: 'DaxdError', code: 'EUCLEAN' },
    'a node that is its own child',
  );
  storeRaw(open, self, good);
  t.equal(mapExtents(treeAt(open, inode)).length, 20, 'the good one is read again');
});

t.test('reserveBlocks: 2 MiB and more lie as large pages want them', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t, [], 256 * MIB));
  const { volume } = open;
  const small = await open.fs.create('small');
  await writeFile(volume, small, 0, Buffer.alloc(20 * KIB, 1));
  for (const offset of [0, 2 * MIB, 3 * MIB, 12 * KIB]) {
    const inode = await open.fs.create(`at-${offset}`);
    await fallocate(volume, inode, { offset, length: 40 * MIB, keepSize: false });
    const extents = mapExtents(treeAt(open, inode));
    t.equal(extents.length, 1, `${offset}: one extent`);
    for (const { logical, physical } of extents) t.equal((physical - logical) % 512, 0);
  }
  await closeClean(t, open);
});

/** Has an inode map one block again and again, with a block between each two that it maps not. */
async function mapAgain(open: OpenImage, number: number, extents: number): Promise<void> {
  const room = await open.fs.create(`room-${number}`);
  const leaves = Math.ceil(extents / EXTENT_BLOCK_MAX);
  await writeFile(open.volume, room, 0, Buffer.alloc((leaves + 2) * BLOCK_SIZE));
  const base = (open.fs.extents(room)[0]?.mediaOffset ?? 0) / BLOCK_SIZE;
  const seed = inodeOf(open, number).checksumSeed;
  const index: IndexEntry[] = [];
  for (let i = 0; i < leaves; i++) {
    const first = 2 * i * EXTENT_BLOCK_MAX;
    const leaf = Array.from({ length: EXTENT_BLOCK_MAX }, (_, n) => ({
      logical: first + 2 * n,
      physical: base,
      length: 1,
      unwritten: false,
    }));
    index.push({ logical: first, block: base + 2 + i });
    forgeNode(open, base + 2 + i, seed, (node) => encodeLeaf(node, leaf));
  }
  forgeNode(open, base + 1, seed, (node) => encodeIndex(node, index, 1));
  await forgeInode(open, number, ({ iBlock }) => {
    encodeIndex(iBlock, [{ logical: 0, block: base + 1 }], 2);
  });
}

t.test('mapExtents: a file of more blocks than there are is EUCLEAN', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const made = await openImage(newImage(t, [], 16 * MIB));
  const { blocksCount } = made.volume.superblock;
  const file = await made.fs.create('file');
  await made.fs.symlink('link', 'x'.repeat(100));
  const link = made.fs.lookup('link', { follow: false });
  const own = await made.fs.create('own');
  for (const inode of [file, link, own]) await mapAgain(made, inode, blocksCount + 1);
  await forgeInode(made, own, (inode) => {
    inode.mode = ModeType.File;
    inode.flags |= InodeFlag.Immutable;
  });
  await made.close();
  debugfsWrite(made.image, ['ln own .daxd-quarantine', 'unlink own']);

  const open = await openImage(made.image, { readOnly: true });
  t.teardown(() => open.close());
  const refusal = { name: 'DaxdError', code: 'EUCLEAN' } as const;
  const message = new RegExp(`extent tree of inode ${file}: it maps more blocks`);
  t.throws(() => open.fs.extents(file), { ...refusal, message });
  const each = eachExtent(treeAt(open, file));
  t.throws(() => Array.from(each), { ...refusal, message });
  t.equal(mapExtents(treeAt(open, file), { from: 0, to: 9 }).length, 5);
  t.equal(open.fs.stat(link).type, 'symlink', 'of a symlink the first block is looked at');
  t.match(open.volume.quarantine.refusal, { code: 'EEXIST' }, 'and of what is no quarantine');
});
