/** Files without extents whose map is damaged: refused, and nothing of them is freed. */
import t from 'tap';
import type { Test } from 'tap';

import { mappedExtents } from '../../../../src/fs/ext4/block-map.js';
import { WHOLE_FILE } from '../../../../src/fs/ext4/extent-tree.js';
import { readAnyInode } from '../../../../src/fs/ext4/inode.js';
import { BLOCK_SIZE, InodeFlag } from '../../../../src/fs/ext4/layout.js';
import type { BlockSource } from '../../../../src/fs/ext4/transaction.js';
import { processorMs } from '../../../support/processor-time.js';
import { requires } from '../../../support/requires.js';
import { FAR, JUDGES, upgraded } from './block-map-set-up.js';
import { forgeBlock, forgeInode } from './forge.js';
import { newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

/** First block of the numbers that lie one block away from i_block. */
const INDIRECT = 12;

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
