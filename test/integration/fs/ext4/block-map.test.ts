/** What an ext3 left on a filesystem that became an ext4: it maps its blocks without extents. */
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  rmdirSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { METADATA } from '../../../../src/fs/ext4/allocator.js';
import { mappedExtents } from '../../../../src/fs/ext4/block-map.js';
import { freeSpan } from '../../../../src/fs/ext4/free-span.js';
import { WHOLE_FILE } from '../../../../src/fs/ext4/extent-tree.js';
import { readAnyInode } from '../../../../src/fs/ext4/inode.js';
import { BLOCK_SIZE, InodeFlag } from '../../../../src/fs/ext4/layout.js';
import type { BlockSource } from '../../../../src/fs/ext4/transaction.js';
import { MIB } from '../../../../src/lib/units.js';
import {
  debugfs,
  debugfsWrite,
  fsck,
  fsckMounted,
  kernelTree,
  runJudge,
  withLoopMount,
} from '../../../support/ext4-image.js';
import { processorMs } from '../../../support/processor-time.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { forgeBlock, forgeInode } from './forge.js';
import { crashCopy } from './orphan-set-up.js';
import { ownTree } from './set-up.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

const JUDGES = {
  commands: ['mke2fs', 'tune2fs', 'e2fsck', 'debugfs', 'mount', 'umount'],
  root: true,
};
const LONG = 'x'.repeat(200);
/** More than a block of them. */
const NAMES = Array.from({ length: 200 }, (_, i) => `${i}`.repeat(20));
const FILE_BYTES = 9 * MIB + 123;
/** Behind what two blocks of numbers reach. */
const FAR = (12 + 1024 + 1024 * 1024 + 5) * BLOCK_SIZE;
const SPARSE = 'sparse';
const SPARSE_AT = [0, 3 * MIB, 40 * MIB, FAR];
/** `O_PATH`, which Node does not name: a symlink itself is opened so. */
const O_PATH = 0o10000000;
/** First block of the numbers that lie one block away from i_block. */
const INDIRECT = 12;

/** An ext3 with one of everything, made an ext4. */
async function upgraded(t: Test): Promise<string> {
  const image = join(scratchDirectory(t), 'image');
  writeFileSync(image, '');
  truncateSync(image, 64 * MIB);
  t.match(runJudge('mke2fs', ['-q', '-F', '-t', 'ext3', '-b', '4096', image]), { status: 0 });
  await withLoopMount(image, 'rw', (root) => {
    symlinkSync(LONG, join(root, 'long'));
    symlinkSync('short', join(root, 'short'));
    mkdirSync(join(root, 'dir'));
    for (const name of NAMES) writeFileSync(join(root, 'dir', name), '');
    writeFileSync(join(root, 'file'), Buffer.alloc(FILE_BYTES, 'file'));
    const sparse = openSync(join(root, 'sparse'), 'w');
    for (const at of SPARSE_AT) writeSync(sparse, SPARSE, at);
    closeSync(sparse);
  });
  // It gives checksums to what was checked after its last mount alone.
  t.match(runJudge('e2fsck', ['-fy', image]), { status: 0 });
  const { status, output } = runJudge('tune2fs', ['-O', 'extents,metadata_csum', image]);
  t.equal(status, 0, output);
  runJudge('e2fsck', ['-fyD', image]);
  t.match(fsck(image), { status: 0 });
  t.match(debugfs(image, 'stat /sparse'), /TIND/);
  return image;
}

function numberOf(image: string, path: string): number {
  return Number(/Inode: (\d+)/.exec(debugfs(image, `stat ${path}`))?.[1]);
}

t.test('openVolume: what an ext3 left reads as the kernel reads it', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = await upgraded(t);
  const open = await openImage(image);
  const { fs } = open;
  const content = Buffer.alloc(SPARSE.length);
  for (const at of SPARSE_AT) {
    fs.read(fs.lookup('sparse'), at, content);
    t.equal(content.toString(), SPARSE);
  }
  await fs.unlink('sparse');
  const tree = await ownTree(fs);
  t.match(tree.join('\n'), `symlink ${LONG}`);
  await closeClean(t, open);
  t.strictSame(tree, await withLoopMount(image, 'ro', kernelTree));
});

t.test('unlink: what an ext3 left goes with its blocks', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = await upgraded(t);
  const open = await openImage(image);
  const { fs, volume } = open;
  const before = volume.free.blocks;
  let counted = 0;
  for (const name of ['long', 'file', 'sparse', 'short']) {
    counted += fs.stat(fs.lookup(name, { follow: false })).blocks / 8;
    await fs.unlink(name);
    t.match(fsckMounted(image), { status: 0 }, name);
  }
  counted += fs.stat(fs.lookup('dir')).blocks / 8;
  for (const name of NAMES) await fs.unlink(`dir/${name}`);
  await fs.unlink('dir');
  t.equal(volume.free.blocks - before, counted);
  await closeClean(t, open);
  await withLoopMount(image, 'rw', (root) => {
    t.strictSame(kernelTree(root), []);
  });
});

t.test('recoverOrphans: what an ext3 left is freed, or cut to its size', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = await upgraded(t);
  const cut = numberOf(image, '/sparse');
  const copy = await withLoopMount(image, 'rw', (root) => {
    for (const name of NAMES) unlinkSync(join(root, 'dir', name));
    const flags = O_PATH | constants.O_NOFOLLOW;
    const open = ['file', 'dir', 'long'].map((name) => openSync(join(root, name), flags));
    unlinkSync(join(root, 'file'));
    unlinkSync(join(root, 'long'));
    rmdirSync(join(root, 'dir'));
    runJudge('sync', ['-f', root]);
    const crashed = crashCopy(image);
    for (const fd of open) closeSync(fd);
    return crashed;
  });
  const open = await openImage(copy);
  t.strictSame(open.volume.readOnlyReasons, []);
  await closeClean(t, open);

  const size = 3 * MIB + 2;
  debugfsWrite(image, [`sif <${cut}> size ${size}`, `ssv last_orphan ${cut}`]);
  t.not(fsck(image).status, 0);
  const again = await openImage(image);
  t.strictSame(again.volume.readOnlyReasons, []);
  t.equal(again.fs.stat(cut).blocks, (2 + 1) * 8, 'two of data, and one of their numbers');
  await closeClean(t, again);
  await withLoopMount(image, 'ro', (root) => {
    const content = readFileSync(join(root, 'sparse'));
    const wanted = Buffer.alloc(size);
    for (const at of [0, 3 * MIB]) wanted.write(SPARSE, at);
    t.ok(content.equals(wanted));
  });
});

t.test('freeSpan: a block map goes in as many transactions as it takes', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = await upgraded(t);
  const open = await openImage(image);
  const { volume } = open;
  for (const path of ['/sparse', '/file']) {
    const number = numberOf(image, path);
    const sectors = open.fs.stat(number).blocks;
    let pieces = 0;
    for (let isLast = false; !isLast; pieces++) {
      isLast = await volume.transact((txn) => {
        const inode = readAnyInode(txn, volume, number);
        const piece = freeSpan(txn, volume, { inode, span: WHOLE_FILE, spare: Infinity }, METADATA);
        inode.store(txn);
        return piece.isLast;
      });
      t.match(fsckMounted(image), { status: 0 });
    }
    t.ok(sectors > 0 && pieces > 3, `${path}: ${pieces} pieces`);
    t.equal(open.fs.stat(number).blocks, 0);
  }
  await closeClean(t, open);
});

t.test(
  'readWritable: a file without extents is not changed, until e2fsck gives it some',
  async (t) => {
    if (!requires(t, JUDGES)) return;
    const image = await upgraded(t);
    const refusal = { name: 'DaxdError', code: 'EOPNOTSUPP', message: /e2fsck -fy -E bmap2extent/ };
    const open = await openImage(image);
    const file = open.fs.lookup('file');
    await t.rejects(open.fs.write(file, 0, Buffer.from('x')), refusal);
    await t.rejects(open.fs.truncate(file, 1), refusal);
    await t.rejects(open.fs.prepareDma(file, 0, BLOCK_SIZE, 'write'), refusal);
    t.match(await open.fs.prepareDma(file, 0, BLOCK_SIZE, 'read'), [{ length: BLOCK_SIZE }]);
    // A directory takes names for as long as its blocks have room.
    let names = 0;
    const fill = async (): Promise<never> => {
      for (; ; names++) await open.fs.create(`dir/${names}`.padEnd(250, 'y'));
    };
    await t.rejects(fill(), refusal);
    t.ok(names > 0, `${names} names`);
    await closeClean(t, open);

    runJudge('e2fsck', ['-fy', '-E', 'bmap2extent', image]);
    const again = await openImage(image);
    await again.fs.truncate(again.fs.lookup('file'), 1);
    await again.fs.create(`dir/${names}`.padEnd(250, 'y'));
    await closeClean(t, again);
  },
);

t.test('unlink: a pinned file without extents is freed once it is idle', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = await upgraded(t);
  const open = await openImage(image);
  const [extent] = open.fs.extents(open.fs.lookup('file'));
  open.pin(extent?.mediaOffset ?? 0, BLOCK_SIZE);
  const before = open.volume.free.blocks;
  await open.fs.unlink('file');
  t.equal(open.volume.free.blocks, before, 'its blocks wait');
  open.unpin(extent?.mediaOffset ?? 0, BLOCK_SIZE);
  await closeClean(t, open);
});

t.test('freeMapped: names the map of a block that no file may have', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await openImage(await upgraded(t));
  // Of a symlink nothing is pinned, so that nothing is looked for in its map before.
  const number = open.fs.lookup('long', { follow: false });
  await forgeInode(open, number, ({ iBlock }) => {
    iBlock.writeUInt32LE(1, 4 * (INDIRECT - 1));
  });
  const before = open.volume.free.blocks;
  const damage = {
    name: 'DaxdError',
    code: 'EUCLEAN',
    message: /^block map of inode \d+: block 1 /,
  };
  await t.rejects(open.fs.unlink('long'), damage);
  t.equal(open.volume.free.blocks, before, 'nothing is freed');
  await open.close();
});

/** A damaged map of the file `sparse`: neither read nor freed. */
async function isRefused(t: Test, open: OpenImage, patch: (iBlock: Buffer) => void): Promise<void> {
  const number = open.fs.lookup('sparse');
  await forgeInode(open, number, ({ iBlock }) => {
    patch(iBlock);
  });
  const damage = { name: 'DaxdError', code: 'EUCLEAN', message: /block map of inode/ };
  t.throws(() => open.fs.extents(number), damage);
  const before = open.volume.free.blocks;
  await t.rejects(open.fs.unlink('sparse'), damage, 'and so is its removal');
  t.equal(open.volume.free.blocks, before, 'nothing is freed');
}

t.test('mappedExtents: a damaged map is refused', async (t) => {
  if (!requires(t, JUDGES)) return;
  const damages: Record<string, (open: OpenImage) => (iBlock: Buffer) => void> = {
    'a block of the tables': () => (iBlock) => iBlock.writeUInt32LE(1, 0),
    'a block past the end': () => (iBlock) => iBlock.writeUInt32LE(2 ** 31, 4 * INDIRECT),
    'blocks that name themselves': (open) => (iBlock) => {
      const block = iBlock.readUInt32LE(4 * INDIRECT);
      forgeBlock(open, block, (bytes) => {
        for (let at = 0; at < BLOCK_SIZE; at += 4) bytes.writeUInt32LE(block, at);
      });
      iBlock.writeUInt32LE(block, 4 * (INDIRECT + 2));
    },
  };
  for (const [title, patch] of Object.entries(damages)) {
    await t.test(title, async (t) => {
      const open = await openImage(await upgraded(t));
      await isRefused(t, open, patch(open));
      await open.close();
    });
  }
});

/** A file whose map is one block that names itself at every place, and the number of that block. */
async function naming(t: Test): Promise<OpenImage & { file: number; block: number }> {
  const open = await openImage(newImage(t));
  const file = await open.fs.create('f');
  await open.fs.write(file, 0, Buffer.alloc(BLOCK_SIZE, 1));
  const block = (open.fs.extents(file)[0]?.mediaOffset ?? 0) / BLOCK_SIZE;
  const fill = (bytes: Buffer): void => {
    for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(block, at);
  };
  forgeBlock(open, block, fill);
  await forgeInode(open, file, (inode) => {
    inode.flags &= ~InodeFlag.Extents;
    inode.size = FAR;
    fill(inode.iBlock);
  });
  return { ...open, file, block };
}

t.test('mappedExtents: a block of numbers that comes twice is read once', async (t) => {
  if (!requires(t, { commands: ['mke2fs'] })) return;
  const open = await naming(t);
  const { volume, file, block } = open;
  let reads = 0;
  const source: BlockSource = {
    block: (number) => {
      reads++;
      return volume.block(number);
    },
    isVerified: () => false,
    markVerified: () => {},
    isPartVerified: () => false,
    markPartVerified: () => {},
  };
  const inode = readAnyInode(volume, volume, file);
  const damage = { name: 'DaxdError', code: 'EUCLEAN', message: `block ${block} of it` };
  t.throws(
    () => mappedExtents({ source, volume, inode }, { ...WHOLE_FILE, max: Infinity }),
    damage,
  );
  t.equal(reads, 1, 'what is found is bounded by what is there, not by the filesystem');
  await open.close();
});

t.test('seekHole: a map without a hole and without an end is refused', async (t) => {
  if (!requires(t, { commands: ['mke2fs'] })) return;
  const open = await naming(t);
  const { fs, file } = open;
  const startMs = processorMs();
  t.throws(() => fs.seekHole(file, 0), { name: 'DaxdError', code: 'EUCLEAN' });
  t.ok(processorMs() - startMs < 1000);
  t.equal(fs.seekData(file, 5), 5);
  await open.close();
});
