import { copyFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { mapExtents, treeOf } from '../../../../src/fs/ext4/extent-tree.js';
import { readInode } from '../../../../src/fs/ext4/inode.js';
import { BLOCK_SIZE } from '../../../../src/fs/ext4/layout.js';
import type { Transaction } from '../../../../src/fs/ext4/transaction.js';
import type { ChangeStage } from '../../../../src/fs/ext4/volume.js';
import { MIB } from '../../../../src/lib/units.js';
import { debugfs, fsck, makeImage, runJudge } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { closeClean, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck', 'debugfs'];
/** Times that e2fsck looks at a file being changed, at most. */
const LOOKS_MAX = 4;
/** Blocks of the file, every other one a hole. */
const BLOCKS = 2400;

/** Sizes of the transactions since it was made; `after` runs when each is durable. */
function watchTransactions(open: OpenImage, changesMax: number, after: () => unknown): number[] {
  const { volume } = open;
  const sizes: number[] = [];
  const transact = volume.transact.bind(volume);
  const watched = async <T>(body: (txn: Transaction) => T, stage?: ChangeStage): Promise<T> => {
    let size = 0;
    const result = await transact((txn) => {
      const answer = body(txn);
      size = txn.changes.size;
      return answer;
    }, stage);
    sizes.push(size);
    if (sizes.length <= LOOKS_MAX) after();
    return result;
  };
  Object.defineProperties(volume, {
    transactionBlocksMax: { value: changesMax },
    transact: { value: watched },
  });
  return sizes;
}

const spread = join(scratchDirectory(t), 'spread');

/** Makes a file of many extents in many groups, each block filled with its number. */
async function makeSpread(): Promise<Buffer> {
  // Groups of 256 blocks: whatever touches much of the file touches many bitmaps.
  makeImage(spread, 48 * MIB, ['-g', '256', '-J', 'size=4', '-O', '^resize_inode']);
  const { fs, close } = await openImage(spread);
  const number = await fs.create('spread');
  const model = Buffer.alloc(BLOCKS * BLOCK_SIZE);
  for (let i = 0; i < BLOCKS; i++) {
    model.fill(1 + (i % 255), i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE);
  }
  await fs.write(number, 0, model);
  for (let i = 1; i < BLOCKS; i += 2) {
    model.fill(0, i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE);
  }
  await Promise.all(
    Array.from({ length: BLOCKS / 2 }, (_, i) =>
      fs.punchHole(number, (2 * i + 1) * BLOCK_SIZE, BLOCK_SIZE),
    ),
  );
  await close();
  return model;
}

let made: Promise<Buffer> | undefined;

/** A copy of that file's filesystem, open. */
async function openSpread(t: Test): Promise<{ open: OpenImage; number: number; model: Buffer }> {
  made ??= makeSpread();
  const model = Buffer.from(await made);
  const image = join(scratchDirectory(t), 'image');
  copyFileSync(spread, image);
  const open = await openImage(image);
  return { open, number: open.fs.lookup('spread'), model };
}

function content({ fs }: OpenImage, number: number): Buffer {
  const target = Buffer.alloc(fs.stat(number).size);
  fs.read(number, 0, target);
  return target;
}

/** Checks the media as they are, or with `repaired` as e2fsck leaves them after a power cut. */
function checkMedia(t: Test, { image }: OpenImage, repaired: boolean): string {
  if (!repaired) {
    const { status, output } = fsck(image);
    t.equal(status, 0, `e2fsck finds nothing between two pieces: ${status === 0 ? '' : output}`);
    return image;
  }
  const copy = `${image}.cut`;
  copyFileSync(image, copy);
  const { output } = runJudge('e2fsck', ['-fy', copy]);
  t.notMatch(output, /[Mm]ultiply|i_size|Illegal/, 'e2fsck only finishes the truncate');
  t.equal(fsck(copy).status, 0);
  return copy;
}

const BYTES = BLOCKS * BLOCK_SIZE;
const MIDDLE = { offset: 300 * BLOCK_SIZE, length: 2000 * BLOCK_SIZE };
const AFTER = MIDDLE.offset + MIDDLE.length;

interface Case {
  readonly name: string;
  /** Changed blocks that a transaction may have. */
  readonly changesMax: number;
  readonly run: (open: OpenImage, number: number) => Promise<unknown>;
  readonly expected: (model: Buffer) => Buffer;
}

const cases: readonly Case[] = [
  {
    name: 'punchHole',
    changesMax: 54,
    run: ({ fs }, number) => fs.punchHole(number, MIDDLE.offset, MIDDLE.length),
    expected: (model) => model.fill(0, MIDDLE.offset, AFTER),
  },
  {
    name: 'fallocate',
    changesMax: 40,
    run: ({ fs }, number) => fs.fallocate(number, 0, BYTES, { keepSize: false }),
    expected: (model) => model,
  },
  {
    name: 'zeroRange',
    changesMax: 40,
    run: ({ fs }, number) =>
      fs.zeroRange(number, MIDDLE.offset, MIDDLE.length, { keepSize: false }),
    expected: (model) => model.fill(0, MIDDLE.offset, AFTER),
  },
  {
    name: 'writeFile',
    changesMax: 40,
    run: ({ fs }, number) => fs.write(number, MIDDLE.offset, Buffer.alloc(MIDDLE.length, 0x5a)),
    expected: (model) => model.fill(0x5a, MIDDLE.offset, AFTER),
  },
  {
    name: 'prepareDma',
    changesMax: 40,
    run: ({ fs }, number) => fs.prepareDma(number, MIDDLE.offset, MIDDLE.length, 'write'),
    expected: (model) => model,
  },
  {
    name: 'collapseRange',
    changesMax: 50,
    run: ({ fs }, number) => fs.collapseRange(number, 4 * BLOCK_SIZE, 1201 * BLOCK_SIZE),
    expected: (model) =>
      Buffer.concat([model.subarray(0, 4 * BLOCK_SIZE), model.subarray(1205 * BLOCK_SIZE)]),
  },
  {
    name: 'insertRange',
    changesMax: 50,
    run: ({ fs }, number) => fs.insertRange(number, 7 * BLOCK_SIZE, 501 * BLOCK_SIZE),
    expected: (model) =>
      Buffer.concat([
        model.subarray(0, 7 * BLOCK_SIZE),
        Buffer.alloc(501 * BLOCK_SIZE),
        model.subarray(7 * BLOCK_SIZE),
      ]),
  },
];

for (const { name, changesMax, run, expected } of cases) {
  t.test(`${name}: in pieces, each of which leaves the filesystem right`, async (t) => {
    if (!requires(t, { commands: COMMANDS })) return;
    const { open, number, model } = await openSpread(t);
    const sizes = watchTransactions(open, changesMax, () => checkMedia(t, open, false));
    await run(open, number);
    t.ok(sizes.length > 1, `${sizes.length} transactions`);
    t.ok(Math.max(...sizes) <= changesMax, `at most ${Math.max(...sizes)} blocks change at once`);
    t.ok(content(open, number).equals(expected(model)), 'what the file holds');
    await closeClean(t, open);
  });
}

for (const { name, changesMax, run, expected } of cases.slice(-2)) {
  t.test(`${name}: an unmount between two pieces waits for the rest`, async (t) => {
    if (!requires(t, { commands: COMMANDS })) return;
    const { open, number, model } = await openSpread(t);
    let closing: Promise<void> | undefined;
    const sizes = watchTransactions(open, changesMax, () => (closing ??= open.close()));
    await run(open, number);
    await closing;
    t.ok(sizes.length > 1, `${sizes.length} transactions`);
    const { status, output } = fsck(open.image);
    t.equal(status, 0, output);
    const again = await openImage(open.image);
    t.ok(content(again, number).equals(expected(model)), 'all of the file has moved');
    await closeClean(t, again);
  });
}

t.test('replaceData: at once, the old blocks in pieces, finished after a power cut', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { open, number } = await openSpread(t);
  const { fs, volume } = open;
  const free = volume.free.blocks;
  const held = fs.stat(number).blocks;
  const content = Buffer.alloc(3 * BLOCK_SIZE, 0x33);
  const sizes = watchTransactions(open, 66, () => {
    const copy = checkMedia(t, open, true);
    t.match(debugfs(copy, `stat <${number}>`), `Size: ${content.length}\n`);
    t.match(debugfs(copy, `stat <${number}>`), 'Blockcount: 24');
    t.match(runJudge('e2fsck', ['-fn', copy]).output, ': 12/', 'no other inode is left');
  });
  async function* pieces(): AsyncGenerator<Buffer> {
    yield await Promise.resolve(content);
  }
  await fs.replace('spread', pieces());
  t.ok(sizes.length > 2, `${sizes.length} transactions`);
  t.ok(Math.max(...sizes) <= 66, `at most ${Math.max(...sizes)} blocks change at once`);
  t.equal(volume.free.blocks, free + held / 8 - 3, 'all old blocks are free');
  const target = Buffer.alloc(content.length);
  fs.read(number, 0, target);
  t.ok(target.equals(content));
  await closeClean(t, open);
});

t.test('truncateFile: in pieces, the size in the first, finished after a power cut', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { open, number, model } = await openSpread(t);
  const size = 5 * BLOCK_SIZE + 10;
  const changesMax = 54;
  const sizes = watchTransactions(open, changesMax, () => {
    // What a power cut here would leave.
    const copy = checkMedia(t, open, true);
    t.match(debugfs(copy, `stat <${number}>`), new RegExp(`Size: ${size}\\n`));
    t.match(debugfs(copy, `stat <${number}>`), 'Blockcount: 24', 'blocks past the size are free');
  });
  await open.fs.truncate(number, size);
  t.ok(sizes.length > 2, `${sizes.length} transactions`);
  t.ok(Math.max(...sizes) <= changesMax, `at most ${Math.max(...sizes)} blocks change at once`);
  t.ok(content(open, number).equals(model.subarray(0, size)));
  const inode = readInode(open.volume, open.volume, number);
  t.equal(mapExtents(treeOf(open.volume, open.volume, inode)).length, 3);
  await closeClean(t, open);
});
