/** What an ext3 left on a filesystem that became an ext4: it maps its blocks without extents. */
import { closeSync, constants, openSync, readFileSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { METADATA } from '../../../../src/fs/ext4/allocator.js';
import { freeSpan } from '../../../../src/fs/ext4/free-span.js';
import { WHOLE_FILE } from '../../../../src/fs/ext4/extent-tree.js';
import { readAnyInode } from '../../../../src/fs/ext4/inode.js';
import { BLOCK_SIZE } from '../../../../src/fs/ext4/layout.js';
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
import { requires } from '../../../support/requires.js';
import { settle } from '../../../support/settle.js';
import {
  FILE_BYTES,
  JUDGES,
  LONG,
  NAMES,
  SPARSE,
  SPARSE_AT,
  upgraded,
} from './block-map-set-up.js';
import { crashCopy, untilFreed } from './orphan-set-up.js';
import { ownTree } from './set-up.js';
import { closeClean, openImage } from './volume-set-up.js';

/** `O_PATH`, which Node does not name: a symlink itself is opened so. */
const O_PATH = 0o10000000;

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

for (const [title, defer, isOpen] of [
  ['a pinned file without extents', false, false],
  ['one whose removal defers', true, false],
  ['an open one whose removal defers', true, true],
] as const) {
  t.test(`unlink: ${title} is freed once it is idle`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const open = await openImage(await upgraded(t));
    const { fs, volume } = open;
    const number = fs.lookup('file');
    const handle = isOpen ? fs.open(number) : undefined;
    const [extent] = fs.extents(number);
    open.pin(extent?.mediaOffset ?? 0, BLOCK_SIZE);
    const before = volume.free.blocks;
    await fs.unlink('file', { defer });
    await handle?.close();
    // Its removal is tried when the last one closes it.
    await settle();
    t.equal(volume.free.blocks, before, 'its blocks wait');
    open.unpin(extent?.mediaOffset ?? 0, BLOCK_SIZE);
    t.ok(await untilFreed(fs, number));
    t.ok(volume.free.blocks - before >= FILE_BYTES / BLOCK_SIZE, 'they are free');
    await closeClean(t, open);
  });
}
