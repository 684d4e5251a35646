import t from 'tap';

import { METADATA, allocateBlocks, freeBlocks } from '../../../../src/fs/ext4/allocator.js';
import { fallocate } from '../../../../src/fs/ext4/file-space.js';
import { truncateFile } from '../../../../src/fs/ext4/file-truncate.js';
import { writeFile } from '../../../../src/fs/ext4/file-write.js';
import { readGroup } from '../../../../src/fs/ext4/group.js';
import { GroupFlag } from '../../../../src/fs/ext4/layout.js';
import { stageContent } from '../../../../src/fs/ext4/staged-content.js';
import { DaxdError } from '../../../../src/lib/errno.js';
import { KIB, MIB } from '../../../../src/lib/units.js';
import { debugfsWrite, fsck } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { closeClean, newImage, openImage, randomFrom } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';
import { testSeed } from '../../../support/random-test.js';

const COMMANDS = ['mke2fs', 'e2fsck'];
const ENOSPC = { name: 'DaxdError', code: 'ENOSPC' } as const;

function groups({ volume }: OpenImage): { free: number; inodes: number; uninit: boolean }[] {
  return Array.from({ length: volume.superblock.groupCount }, (_, number) => {
    const group = readGroup(volume, volume, number);
    return {
      free: group.freeBlocks,
      inodes: group.freeInodes,
      uninit: (group.flags & GroupFlag.BlockUninit) !== 0,
    };
  });
}

async function isFull(work: Promise<unknown>): Promise<boolean> {
  try {
    await work;
    return false;
  } catch (error) {
    if (error instanceof DaxdError && error.code === 'ENOSPC') return true;
    throw error;
  }
}

for (const args of [
  ['-m', '0'],
  ['-g', '2048'],
  ['-m', '30', '-O', '^64bit'],
]) {
  t.test(`fill to ENOSPC, delete all: counts as at the start (${args.join(' ')})`, async (t) => {
    if (!requires(t, { commands: COMMANDS })) return;
    const open = await openImage(newImage(t, args, 32 * MIB));
    const { volume, fs } = open;
    const random = randomFrom(testSeed(t));
    const before = { ...volume.free };
    const names: string[] = [];
    for (let i = 0; ; i++) {
      const name = `f${i}`;
      const inode = await fs.create(name);
      names.push(name);
      const size = 1 + random(300 * KIB);
      // Every other block, so that the extents do not join and trees get deep.
      if (i % 4 === 0) {
        const sparse = Array.from({ length: 12 }, (_, k) =>
          writeFile(volume, inode, k * 8192, Buffer.alloc(10, 1)),
        );
        const full = await Promise.all(sparse.map((write) => isFull(write)));
        if (full.includes(true)) break;
      }
      if (await isFull(writeFile(volume, inode, 0, Buffer.alloc(size, i)))) break;
    }
    const { output, status } = fsck(open.image);
    t.equal(status, 0, output);

    const last = await fs.create('last');
    const { reservedBlocks } = volume.superblock;
    const rest = Math.max(0, volume.free.blocks - reservedBlocks);
    const space = { offset: 0, length: rest * 4096, keepSize: false };
    if (rest > 0) await fallocate(volume, last, space);
    t.equal(volume.free.blocks, reservedBlocks, 'every block can be had but those kept for root');
    if (reservedBlocks === 0) {
      t.ok(groups(open).every(({ free, uninit }) => free === 0 && !uninit));
    }
    await t.rejects(writeFile(volume, last, rest * 4096, Buffer.alloc(1)), ENOSPC);
    t.equal(volume.reservations.count, 0);
    const full = fsck(open.image);
    t.equal(full.status, 0, full.output);

    for (const name of [...names, 'last']) await fs.unlink(name);
    // What the root directory grew by for the names stays.
    const grown = fs.stat(2).blocks / 8 - 1;
    t.strictSame({ ...volume.free }, { ...before, blocks: before.blocks - grown });
    await closeClean(t, open);
  });
}

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) yield await Promise.resolve(Buffer.alloc(MIB, 1));
}

async function* failing(): AsyncGenerator<Buffer> {
  yield await Promise.resolve(Buffer.alloc(3 * MIB, 1));
  throw new Error('the client is gone');
}

t.test('reserveBlocks: what fails leaves nothing, and the rest can be had', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t, ['-m', '0'], 16 * MIB));
  const { volume } = open;
  const inode = await open.fs.create('a');
  const free = volume.free.blocks;
  const tooLong = { offset: 0, length: (free + 1) * 4096, keepSize: true };
  await t.rejects(fallocate(volume, inode, tooLong), ENOSPC);
  await t.rejects(writeFile(volume, inode, 0, Buffer.alloc((free + 1) * 4096)), ENOSPC);

  await t.rejects(stageContent(volume, endless()), ENOSPC);
  await t.rejects(stageContent(volume, failing()), { message: 'the client is gone' });
  const abort = new AbortController();
  async function* aborting(): AsyncGenerator<Buffer> {
    yield await Promise.resolve(Buffer.alloc(3 * MIB, 1));
    abort.abort();
    yield Buffer.alloc(1);
  }
  await t.rejects(stageContent(volume, aborting(), { signal: abort.signal }), {
    name: 'DaxdError',
    code: 'cancelled',
  });
  t.equal(volume.reservations.count, 0);
  t.equal(volume.free.blocks, free);
  await writeFile(volume, inode, 0, Buffer.alloc(free * 4096, 1));
  t.equal(volume.free.blocks, 0);
  await truncateFile(volume, inode, 0);
  t.equal(volume.free.blocks, free);
  await closeClean(t, open);
});

t.test('allocateBlocks: a transaction reuses none of the blocks that it frees', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t, ['-m', '0'], 16 * MIB));
  const { volume } = open;
  const first = await volume.transact((txn) => allocateBlocks(txn, volume, { goal: 0, count: 1 }));
  const second = await volume.transact((txn) => {
    freeBlocks(txn, volume, first, METADATA);
    return allocateBlocks(txn, volume, { goal: first.start, count: 1 });
  });
  t.not(second.start, first.start);
  const third = await volume.transact((txn) =>
    allocateBlocks(txn, volume, { goal: first.start, count: 1 }),
  );
  t.equal(third.start, first.start, 'the next one does');
  await volume.transact((txn) => {
    freeBlocks(txn, volume, second, METADATA);
    freeBlocks(txn, volume, third, METADATA);
  });
  const twice = volume.transact((txn) => {
    freeBlocks(txn, volume, third, METADATA);
  });
  await t.rejects(twice, { name: 'DaxdError', code: 'EUCLEAN' }, 'freeing a free block');
  const table = readGroup(volume, volume, 0).inodeTable;
  const own = volume.transact((txn) => {
    freeBlocks(txn, volume, { start: table, count: 1 }, METADATA);
  });
  await t.rejects(own, { name: 'DaxdError', code: 'EUCLEAN' }, 'freeing the inode table');
  await closeClean(t, open);
});

t.test('fallocate: more than is available in several transactions changes nothing', async (t) => {
  if (!requires(t, { commands: [...COMMANDS, 'debugfs'] })) return;
  const holes = 3000;
  const image = newImage(t, ['-m', '0'], 48 * MIB);
  const first = await openImage(image);
  const sparse = await first.fs.create('sparse');
  const places = Array.from({ length: holes }, (_, i) => i * 8192 + 4096);
  await Promise.all(places.map((at) => first.fs.write(sparse, at, Buffer.alloc(1, 1))));
  const { blocks: free } = first.volume.free;
  await closeClean(t, first);
  // Enough for the first transaction: 1024 extents are looked at in one.
  debugfsWrite(image, [`ssv r_blocks_count ${free - 2000}`]);

  const open = await openImage(image);
  const { fs, volume } = open;
  const inode = fs.lookup('sparse');
  const { blocks } = fs.stat(inode);
  const fill = (count: number): Promise<unknown> =>
    fs.fallocate(inode, 0, 2 * count * 4096, { keepSize: true });
  await t.rejects(fill(holes), ENOSPC);
  t.equal(fs.stat(inode).blocks, blocks, 'the file has the blocks that it had');
  t.equal(volume.free.blocks, free);
  await fill(1900);
  // Joined extents take fewer blocks of the tree.
  t.ok(fs.stat(inode).blocks > blocks + 1880 * 8, 'what is available can be had');
  await closeClean(t, open);
});

t.test('freeBlocks: metadata that is pinned, so a file has it too, is EUCLEAN', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'e2fsck'] })) return;
  const open = await openImage(newImage(t));
  const { volume, fs } = open;
  const file = await fs.create('file');
  await fs.write(file, 0, Buffer.alloc(4096, 1));
  const offset = fs.extents(file)[0]?.mediaOffset ?? 0;
  open.pin(offset, 4096);
  const run = { start: offset / 4096, count: 1 };
  const isRefused = volume.transact((txn) => {
    freeBlocks(txn, volume, run, METADATA);
  });
  await t.rejects(isRefused, { code: 'EUCLEAN', message: /is pinned through a file/ });
  open.unpin(offset, 4096);
  await closeClean(t, open);
});
