import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';

import t from 'tap';

import { reserveBlocks } from '../../../../src/fs/ext4/allocator.js';
import { BLOCK_SIZE as B } from '../../../../src/fs/ext4/layout.js';
import { MIB } from '../../../../src/lib/units.js';
import { fiemap } from '../../../support/differential/kernel-calls.js';
import { KernelMount } from '../../../support/differential/kernel-mount.js';
import { debugfsWrite, runJudge } from '../../../support/ext4-image.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { SeededRandom } from '../../../support/seeded-random.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck', 'debugfs'];
const ENOSPC = { name: 'DaxdError', code: 'ENOSPC' };

function content({ fs }: OpenImage, number: number): Buffer {
  const target = Buffer.alloc(fs.stat(number).size);
  fs.read(number, 0, target);
  return target;
}

t.test('collapseRange, insertRange: as cutting and joining bytes', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const { fs } = open;
  const random = new SeededRandom(testSeed(t));
  const number = await fs.create('a');
  let model = Buffer.alloc(0);
  for (let i = 0; i < times(300); i++) {
    const blocks = Math.ceil(model.length / B);
    const from = random.below(Math.max(1, blocks));
    const count = 1 + random.below(6);
    const [start, length] = [from * B, count * B];
    const kind = random.below(4);
    if (kind === 0 && start + length < model.length) {
      await fs.collapseRange(number, start, length);
      model = Buffer.concat([model.subarray(0, start), model.subarray(start + length)]);
    } else if (kind === 1 && start < model.length) {
      await fs.insertRange(number, start, length);
      model = Buffer.concat([
        model.subarray(0, start),
        Buffer.alloc(length),
        model.subarray(start),
      ]);
    } else if (kind === 2 && model.length > 300 * B) {
      await fs.truncate(number, start + 7);
      model = model.subarray(0, start + 7);
    } else {
      const bytes = random.bytes(1 + random.below(3 * B));
      const at = random.below(model.length + B);
      await fs.write(number, at, bytes);
      const grown = Buffer.alloc(Math.max(model.length, at + bytes.length));
      model.copy(grown);
      bytes.copy(grown, at);
      model = grown;
    }
    if (!content(open, number).equals(model)) {
      t.fail(`differs after step ${i}`);
      break;
    }
  }
  t.ok(fs.extents(number).length > 4, `${fs.extents(number).length} extents at the end`);
  await closeClean(t, open);
});

t.test('collapseRange, insertRange: wait for pages from the range on, and no other', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const { fs, pin, unpin, layouts } = open;
  const number = await fs.create('a');
  await fs.write(number, 0, Buffer.alloc(20 * B, 1));
  for (const change of ['collapseRange', 'insertRange'] as const) {
    const first = fs.extents(number, 0, B)[0]?.mediaOffset ?? 0;
    const last = fs.extents(number, 12 * B, 13 * B)[0];
    const lastMedia = (last?.mediaOffset ?? 0) + 12 * B - (last?.fileOffset ?? 0);
    pin(first, B);
    t.match(await fs[change](number, 8 * B, B), { waitedMs: 0 }, `${change}: page 0 is pinned`);
    unpin(first, B);
    const moved = lastMedia;
    pin(moved, B);
    const before = fs.extents(number);
    let isDone = false;
    const running = fs[change](number, 8 * B, B).then((result) => {
      isDone = true;
      return result;
    });
    for (let i = 0; i < 30; i++) await setImmediate();
    t.notOk(isDone, `${change}: waits for a page behind the range`);
    t.strictSame(fs.extents(number), before);
    t.match([...layouts.pending], [{ from: 8 * B, to: Infinity }]);
    unpin(moved, B);
    await running;
  }
  await closeClean(t, open);
});

t.test(
  'append: each at the end, none over another; append-only files allow nothing else',
  async (t) => {
    if (!requires(t, { commands: COMMANDS })) return;
    const image = newImage(t);
    let open = await openImage(image);
    const number = await open.fs.create('log');
    const lines = Array.from({ length: 50 }, (_, i) => Buffer.from(`${i};`.repeat(1 + i * 3)));
    const offsets = await Promise.all(lines.map((line) => open.fs.append(number, line)));
    const wanted = lines.map((_, i) =>
      lines.slice(0, i).reduce((sum, { length }) => sum + length, 0),
    );
    t.strictSame(offsets, wanted, 'in the order of the calls');
    t.ok(content(open, number).equals(Buffer.concat(lines)));
    t.equal(await open.fs.append(number, Buffer.alloc(0)), content(open, number).length);
    t.equal(open.fs.extents(number).length, 1, 'what grows at its end stays in one piece');
    await open.close();

    // EXTENTS and APPEND.
    debugfsWrite(image, ['sif log flags 0x80020']);
    open = await openImage(image);
    const { size } = open.fs.stat(number);
    t.equal(await open.fs.append(number, Buffer.from('more')), size);
    const EPERM = { name: 'DaxdError', code: 'EPERM' };
    await t.rejects(open.fs.write(number, size + 4, Buffer.from('no')), EPERM);
    await t.rejects(open.fs.truncate(number, 0), EPERM);
    await closeClean(t, open);
  },
);

t.test('write: without space for the tree not a byte changes', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t, ['-m', '0'], 24 * MIB));
  const { fs, volume } = open;
  const number = await fs.create('a');
  // Four extents fill the root; one more takes a tree block.
  for (let i = 0; i < 4; i++) await fs.write(number, 2 * i * B, Buffer.alloc(B, 1));
  await fs.fallocate(number, 20 * B, 8 * B, { keepSize: false });
  t.equal(fs.extents(number).length, 5);
  const other = await fs.create('b');
  for (let i = 0; i < 3; i++) await fs.write(other, 2 * i * B, Buffer.alloc(B, 1));
  await fs.fallocate(other, 20 * B, 8 * B, { keepSize: false });
  t.equal(fs.extents(other).length, 4);

  const left = volume.free.blocks - volume.reservations.count;
  const taken = reserveBlocks(volume, { goal: 0, count: left });
  const before = content(open, other);
  // No data block is needed, but splitting the unwritten extent takes room that is not there.
  await t.rejects(fs.write(other, 4 * B, Buffer.alloc(20 * B, 7)), ENOSPC, 'holes');
  await t.rejects(fs.write(other, 22 * B, Buffer.alloc(B, 7)), ENOSPC, 'a split');
  t.ok(content(open, other).equals(before), 'nothing changed');
  t.equal(volume.reservations.count, left, 'nothing stays reserved');
  await fs.write(number, 22 * B, Buffer.alloc(B, 7));
  t.equal(content(open, number)[22 * B], 7, 'where the tree has room it needs none');
  await fs.write(other, 0, Buffer.alloc(B, 9));
  t.equal(content(open, other)[0], 9, 'in place');
  taken.release();
  await closeClean(t, open);
});

t.test('extents: as the kernel and filefrag see them', async (t) => {
  if (!requires(t, { commands: [...COMMANDS, 'mount', 'filefrag'], root: true })) return;
  const open = await openImage(newImage(t, [], 256 * MIB));
  const { fs, image } = open;
  const random = new SeededRandom(testSeed(t));
  const number = await fs.create('a');
  await fs.fallocate(number, 0, 150 * MIB, { keepSize: true });
  for (let i = 0; i < 400; i++) {
    const offset = random.below(38000) * B;
    const length = (1 + random.below(9)) * B;
    if (i % 3 === 0) await fs.punchHole(number, offset, length);
    else await fs.write(number, offset, Buffer.alloc(length, 1));
  }
  const own = fs.extents(number).map(({ fileOffset, mediaOffset, length, unwritten }) => {
    return { logical: fileOffset, physical: mediaOffset, length, unwritten };
  });
  await closeClean(t, open);
  t.ok(own.length > 400, `${own.length} extents`);
  const mount = KernelMount.mount(image, 'ro');
  try {
    const path = join(mount.directory, 'a');
    const fd = openSync(path, 'r');
    t.strictSame(fiemap(fd), own);
    closeSync(fd);
    const { output } = runJudge('filefrag', ['-v', path]);
    const rows = [...output.matchAll(/^ *\d+: +(\d+)\.\. +(\d+): +(\d+)\.\. +\d+: +(\d+):.*$/gm)];
    t.equal(rows.length, own.length);
    const total = own.reduce((sum, { length }) => sum + length, 0);
    t.equal(rows.reduce((sum, row) => sum + Number(row[4]), 0) * B, total);
  } finally {
    mount.unmount();
  }
});
