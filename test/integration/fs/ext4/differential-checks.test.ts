/** Checks of ext4 with numbers, each with the kernel or e2fsprogs as the judge. */
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { DaxdError } from '../../../../src/lib/errno.js';
import { MIB } from '../../../../src/lib/units.js';
import { availableKinds, runDifferential } from '../../../support/differential/differential.js';
import { makeDirtyImage } from '../../../support/differential/images.js';
import { KernelTarget } from '../../../support/differential/kernel-target.js';
import type { Operation } from '../../../support/differential/operation.js';
import { Program, Script } from '../../../support/differential/program.js';
import { debugfs, fsck, makeImage, runJudge } from '../../../support/ext4-image.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { mountImage } from './set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs', 'dumpe2fs', 'mount'], root: true };
const BLOCK = 4096;
const SIZE_BYTES = 32 * MIB;

async function runScript(t: Test, script: readonly Operation[]): Promise<void> {
  const report = await runDifferential({
    directory: scratchDirectory(t),
    kind: 'default',
    sizeBytes: SIZE_BYTES,
    source: new Script(script),
    operations: script.length,
    burst: 50,
    fineFrom: 0,
  });
  t.equal(report.finding, undefined);
  t.equal(report.operations.length, script.length);
}

t.test('ext4.md 7.5: 400 random operations, e2fsck finds nothing after each', async (t) => {
  if (!requires(t, JUDGES)) return;
  const seed = testSeed(t);
  const kinds = availableKinds();
  const operations = times(400);
  const report = await runDifferential({
    directory: scratchDirectory(t),
    kind: 'default',
    sizeBytes: SIZE_BYTES,
    source: new Program({ seed, blocks: SIZE_BYTES / BLOCK, kinds }),
    operations,
    burst: 50,
    judgeEvery: 1,
  });
  t.equal(report.finding, undefined, `seed ${seed}`);
  t.equal(report.operations.length, operations);
});

/**
 * "Free blocks" and "Free inodes" as dumpe2fs has them, in all and by group. How many inodes
 * of a group were never used is left out: that number only falls.
 */
function freeCounts(image: string): string[] {
  return runJudge('dumpe2fs', [image])
    .output.split('\n')
    .filter((line) => /^Free (blocks|inodes):|free blocks/.test(line))
    .map((line) => line.replace(/, \d+ unused inodes$/, ''));
}

/** Writes files until there is no more room, of any size. */
async function fill(fs: Ext4, directory: string): Promise<number> {
  let files = 0;
  for (let length = 2 * MIB; length >= 1;) {
    const path = `${directory}/f${files}`;
    try {
      await fs.replace(path, pieces(length));
      files++;
    } catch (error) {
      if (!(error instanceof DaxdError) || error.code !== 'ENOSPC') throw error;
      length = Math.floor(length / 8);
    }
  }
  return files;
}

async function* pieces(length: number): AsyncGenerator<Buffer> {
  yield Buffer.alloc(length, 0x5a);
}

t.test(
  'ext4.md 7.9: filled until nothing fits and emptied, the free counts are back',
  async (t) => {
    if (!requires(t, JUDGES)) return;
    for (const [name, args] of [
      ['blocks run out', ['-N', '2048']],
      ['inodes run out', ['-N', '64']],
      ['small groups', ['-g', '1024', '-N', '1024']],
    ] as const) {
      await t.test(name, async (t) => {
        const image = join(scratchDirectory(t), 'image');
        makeImage(image, 16 * MIB, args);
        const before = freeCounts(image);
        let mounted = await mountImage(image);
        await mounted.fs.mkdir('full');
        const files = await fill(mounted.fs, 'full');
        t.ok(files > 10, `${files} files`);
        await mounted.close();
        t.match(fsck(image), { status: 0 }, 'full and clean');

        mounted = await mountImage(image);
        for (let i = 0; i < files; i++) await mounted.fs.unlink(`full/f${i}`);
        await mounted.fs.unlink('full');
        await mounted.close();
        t.match(fsck(image), { status: 0 }, 'empty and clean');
        t.strictSame(freeCounts(image), before);
      });
    }
  },
);

t.test('ext4.md 7.11: preallocated blocks read as zeros, past the end too', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  await makeDirtyImage(image, 'default', SIZE_BYTES);
  const { fs, close } = await mountImage(image);
  const kept = await fs.create('kept');
  await fs.write(kept, 0, Buffer.from('head'));
  await fs.fallocate(kept, 0, 10 * BLOCK, { keepSize: true });
  const grown = await fs.create('grown');
  await fs.fallocate(grown, 5000, 100_000, { keepSize: false });
  await close();
  t.match(fsck(image), { status: 0 });
  t.match(debugfs(image, 'ex /kept'), /1 - +9 .*Uninit/);
  t.match(debugfs(image, 'ex /grown'), /1 - +25 .*Uninit/);

  const kernel = KernelTarget.open(image, 'ro');
  t.teardown(() => {
    kernel.close();
  });
  const read = async (path: string, length: number): Promise<unknown> =>
    (await kernel.run({ kind: 'read', path, offset: 0, length })).answer;
  t.equal(await read('kept', 100), Buffer.from('head').toString('hex'));
  t.equal(await read('grown', 200_000), '00'.repeat(105_000));
  kernel.close();

  // What grows into blocks kept past the end, and every way to make them.
  const path = 'file';
  await runScript(t, [
    { kind: 'create', path },
    { kind: 'fallocate', path, offset: 3, length: 9 * BLOCK, keepSize: true },
    { kind: 'truncate', path, size: 2 * BLOCK + 5 },
    { kind: 'write', path, offset: 5 * BLOCK + 1, length: 7, fill: 1 },
    { kind: 'truncate', path, size: BLOCK },
    { kind: 'fallocate', path, offset: 0, length: 20 * BLOCK, keepSize: true },
    { kind: 'append', path, length: 3 * BLOCK + 9, fill: 2 },
    { kind: 'zero', path, offset: BLOCK + 1, length: 17 * BLOCK, keepSize: true },
    { kind: 'truncate', path, size: 30 * BLOCK },
    { kind: 'read', path, offset: 0, length: 30 * BLOCK },
  ]);
});

t.test('ext4.md 7.12: written at odd offsets, unwritten blocks show no stale byte', async (t) => {
  if (!requires(t, JUDGES)) return;
  const edges = [0, 1, 511, 2048, 4095];
  const script: Operation[] = [];
  for (const [i, from] of edges.entries()) {
    for (const to of [BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 1]) {
      const path = `f${i}-${to}`;
      const offset = BLOCK + from;
      script.push(
        { kind: 'create', path },
        { kind: 'fallocate', path, offset: 0, length: 6 * BLOCK, keepSize: to % 2 === 0 },
        { kind: 'write', path, offset, length: BLOCK + to - offset + from, fill: i },
        { kind: 'write', path, offset: 4 * BLOCK - from, length: 1 + from, fill: to },
        { kind: 'read', path, offset: 0, length: 8 * BLOCK },
      );
    }
  }
  await runScript(t, script);
});

t.test(
  'ext4.md 7.13: what was cut off, or stored past the end, is zeros once it grows',
  async (t) => {
    if (!requires(t, JUDGES)) return;
    const image = join(scratchDirectory(t), 'image');
    await makeDirtyImage(image, 'default', SIZE_BYTES);
    const { fs, backing, close } = await mountImage(image);
    const size = 5000;
    const end = 3 * BLOCK;
    const ways: Readonly<Record<string, (inode: number) => Promise<unknown>>> = {
      truncate: (inode) => fs.truncate(inode, end),
      write: (inode) => fs.write(inode, end - 1, Buffer.alloc(1)),
      'write in the same block': (inode) => fs.write(inode, 2 * BLOCK - 1, Buffer.alloc(1)),
      fallocate: (inode) => fs.fallocate(inode, size, end - size, { keepSize: false }),
      zeroRange: (inode) => fs.zeroRange(inode, end - 100, 100, { keepSize: false }),
      prepareDma: async (inode) => {
        await fs.truncate(inode, end);
        await fs.prepareDma(inode, size, 1, 'write');
      },
    };
    for (const [way, grow] of Object.entries(ways)) {
      const inode = await fs.create(way);
      await fs.write(inode, 0, Buffer.alloc(3 * BLOCK, 0x77));
      await fs.truncate(inode, size);
      // What a program does that has the last page mapped: it stores past the end of the file.
      const [extent] = fs.extents(inode);
      const tail = (extent?.mediaOffset ?? 0) + size;
      backing.mapping.write(tail, Buffer.alloc(2 * BLOCK - size, 0x88));
      await grow(inode);
    }
    const appended = await fs.create('append');
    await fs.write(appended, 0, Buffer.alloc(size, 0x77));
    t.equal(await fs.append(appended, Buffer.alloc(100)), size);
    await close();
    t.match(fsck(image), { status: 0 });

    const kernel = KernelTarget.open(image, 'ro');
    t.teardown(() => {
      kernel.close();
    });
    for (const path of [...Object.keys(ways), 'append']) {
      const { answer } = await kernel.run({ kind: 'read', path, offset: 0, length: 4 * BLOCK });
      const bytes = Buffer.from(String(answer), 'hex');
      t.ok(bytes.subarray(0, size).equals(Buffer.alloc(size, 0x77)), `${path}: what is left`);
      t.ok(
        bytes.length > size && bytes.subarray(size).every((byte) => byte === 0),
        `${path}: zeros`,
      );
    }
  },
);
