import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { testBit } from '../../../../src/fs/ext4/bitmap.js';
import { mapExtents, treeOf } from '../../../../src/fs/ext4/extent-tree.js';
import { readFile } from '../../../../src/fs/ext4/file-read.js';
import type { FileExtent } from '../../../../src/fs/ext4/file-read.js';
import { fallocate, punchHole, zeroRange } from '../../../../src/fs/ext4/file-space.js';
import { truncateFile } from '../../../../src/fs/ext4/file-truncate.js';
import { writeFile } from '../../../../src/fs/ext4/file-write.js';
import { readBlockBitmap } from '../../../../src/fs/ext4/group-bitmaps.js';
import { readInode } from '../../../../src/fs/ext4/inode.js';
import { prepareDma } from '../../../../src/fs/ext4/prepare-dma.js';
import { replaceData } from '../../../../src/fs/ext4/replace-data.js';
import { stageContent } from '../../../../src/fs/ext4/staged-content.js';
import type { Volume } from '../../../../src/fs/ext4/volume.js';
import { DaxdError } from '../../../../src/lib/errno.js';
import { MIB, roundUp } from '../../../../src/lib/units.js';
import { fsckMounted, withLoopMount } from '../../../support/ext4-image.js';
import { until } from './orphan-set-up.js';
import { requires } from '../../../support/requires.js';
import {
  closeClean,
  debugfsExtents,
  dumpFile,
  newImage,
  openImage,
  randomFrom,
} from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';
import { testSeed } from '../../../support/random-test.js';

const FILE_BYTES_MAX = 3 * MIB;
const NAMES = ['a', 'b', 'c'];

/** What a file should hold. */
interface Model {
  readonly inode: number;
  content: Buffer;
}

function resized(content: Buffer, size: number): Buffer {
  return Buffer.concat([
    content.subarray(0, size),
    Buffer.alloc(Math.max(0, size - content.length)),
  ]);
}

/** Fills every free block with 0xA5, so that whatever is not zeroed shows. */
function soilFreeBlocks({ volume }: OpenImage): void {
  const { superblock } = volume;
  for (let group = 0; group < superblock.groupCount; group++) soilGroup(volume, group);
}

function soilGroup(volume: Volume, group: number): void {
  const run = {
    start: volume.superblock.groupStart(group),
    count: volume.superblock.groupBlocks(group),
  };
  const used = readBlockBitmap(volume, volume, group);
  for (let bit = 0; bit < run.count; bit++) {
    if (!testBit(used, bit)) volume.range.fill((run.start + bit) * 4096, 4096, 0xa5);
  }
}

/** What a lease holder may do: it has whole pages, and writes behind the end of the file. */
function soilBehindEnd(volume: Volume, extents: readonly FileExtent[], size: number): void {
  for (const { fileOffset, mediaOffset, length } of extents) {
    const behind = fileOffset + length - size;
    if (behind > 0) volume.range.fill(mediaOffset + length - behind, behind, 0x77);
  }
}

type Random = (below: number) => number;

async function* pieces(content: Buffer, random: Random): AsyncGenerator<Buffer> {
  for (let done = 0; done < content.length;) {
    const length = 1 + random(300_000);
    yield content.subarray(done, done + length);
    done += length;
  }
}

/** One random operation on a file and on its model. */
async function step({ volume }: OpenImage, model: Model, random: Random): Promise<string> {
  const { inode, content } = model;
  const offset = random(FILE_BYTES_MAX);
  const length = 1 + random(random(4) === 0 ? 1_000_000 : 9000);
  const end = offset + length;
  const keepSize = random(2) === 0;
  const grown = keepSize ? content : resized(content, Math.max(content.length, end));
  switch (random(8)) {
    case 0:
    case 1: {
      const data = Buffer.alloc(length, 1 + random(255));
      await writeFile(volume, inode, offset, data);
      model.content = resized(content, Math.max(content.length, end));
      data.copy(model.content, offset);
      return `write ${offset} ${length}`;
    }
    case 2:
      await truncateFile(volume, inode, offset);
      model.content = resized(content, offset);
      return `truncate ${offset}`;
    case 3:
      await punchHole(volume, inode, { offset, length });
      model.content = Buffer.from(content);
      model.content.fill(0, Math.min(offset, content.length), Math.min(end, content.length));
      return `punch ${offset} ${length}`;
    case 4:
      await zeroRange(volume, inode, { offset, length, keepSize });
      model.content = Buffer.from(grown);
      model.content.fill(0, Math.min(offset, grown.length), Math.min(end, grown.length));
      return `zero ${offset} ${length} ${keepSize}`;
    case 5:
      await fallocate(volume, inode, { offset, length, keepSize });
      model.content = grown;
      return `fallocate ${offset} ${length} ${keepSize}`;
    case 6: {
      const size = content.length;
      if (size === 0 || offset >= size) return 'nothing';
      const part = Math.min(length, roundUp(size, 4096) - offset);
      const access = 'write';
      const extents = await prepareDma(volume, inode, { offset, length: part, access });
      soilBehindEnd(volume, extents, size);
      return `dma ${offset} ${part}`;
    }
    default: {
      const fresh = Buffer.alloc(offset, 1 + random(255));
      const staged = await stageContent(volume, pieces(fresh, random));
      await replaceData(volume, inode, staged);
      model.content = fresh;
      return `replace ${offset}`;
    }
  }
}

function contentOf({ volume }: OpenImage, inode: number): Buffer {
  const { size } = readInode(volume, volume, inode);
  const target = Buffer.alloc(size, 0xee);
  readFile(volume, inode, 0, target);
  return target;
}

async function runWorkload(t: Test, args: readonly string[], seed: number): Promise<void> {
  const open = await openImage(newImage(t, args));
  const random = randomFrom(seed);
  soilFreeBlocks(open);
  const models: Model[] = [];
  for (const name of NAMES) {
    models.push({ inode: await open.fs.create(name), content: Buffer.alloc(0) });
  }
  for (let i = 0; i < 120; i++) {
    const model = models[random(models.length)];
    if (model === undefined) continue;
    const what = await step(open, model, random);
    if (!contentOf(open, model.inode).equals(model.content)) {
      t.fail(`step ${i}, ${what}: content differs`);
      break;
    }
    if (i % 10 === 9) {
      const { status, output } = fsckMounted(open.image);
      if (status !== 0) {
        t.fail(`step ${i}, ${what}: ${output}`);
        break;
      }
    }
  }
  t.equal(open.volume.reservations.count, 0, 'no reservation is left over');
  for (const { inode } of models) {
    const { volume } = open;
    const own = mapExtents(treeOf(volume, volume, readInode(volume, volume, inode)));
    t.strictSame(debugfsExtents(open.image, inode), own, 'debugfs lists the same extents');
  }
  await closeClean(t, open);
  for (const { inode, content } of models) {
    t.ok(dumpFile(open.image, inode).equals(content), 'debugfs reads the same content');
  }
  if (!requires(t, { root: true })) return;
  await withLoopMount(open.image, 'ro', (directory) => {
    for (const [i, { content }] of models.entries()) {
      const name = NAMES[i] ?? '';
      t.ok(
        readFileSync(join(directory, name)).equals(content),
        'the kernel reads the same content',
      );
    }
  });
}

const SHAPES: readonly (readonly [string, readonly string[]])[] = [
  ['default', []],
  ['many small groups', ['-g', '2048']],
  ['without a journal', ['-O', '^has_journal']],
  ['metadata_csum_seed, orphan_file', ['-O', 'metadata_csum_seed,orphan_file']],
  ['not 64bit, no flex_bg', ['-O', '^64bit,^flex_bg']],
];

for (const [name, args] of SHAPES) {
  t.test(`random file operations: e2fsck and debugfs agree (${name})`, async (t) => {
    if (!requires(t, { commands: ['mke2fs', 'e2fsck', 'debugfs'] })) return;
    await runWorkload(t, args, testSeed(t));
  });
}

/** What an operation may answer when others remove its file or fill the media. */
const EXPECTED = new Set(['ENOENT', 'ENOSPC', 'EEXIST', 'EINVAL', 'cancelled']);

/** One random operation on a file that others change at the same time. */
async function stepAmongOthers(open: OpenImage, random: Random): Promise<void> {
  const { fs } = open;
  const name = NAMES[random(NAMES.length)] ?? '';
  try {
    if (random(12) === 0) await fs.unlink(name);
    else if (random(3) === 0) await fs.create(name);
    const inode = fs.lookup(name);
    await step(open, { inode, content: Buffer.alloc(fs.stat(inode).size) }, random);
  } catch (error) {
    if (!(error instanceof DaxdError && EXPECTED.has(error.code))) throw error;
  }
}

/** Pins a page of some file for a while. */
async function pinSome(open: OpenImage, random: Random): Promise<void> {
  const name = NAMES[random(NAMES.length)] ?? '';
  let inode: number;
  try {
    inode = open.fs.lookup(name);
  } catch {
    return;
  }
  const extents = open.fs.extents(inode).filter(({ unwritten }) => !unwritten);
  const extent = extents[random(Math.max(1, extents.length))];
  if (extent === undefined || open.layouts.pendingOver(inode, 0, Infinity) !== undefined) return;
  open.pin(extent.mediaOffset, 4096);
  for (let i = 0; i < random(20); i++) await setImmediate();
  open.unpin(extent.mediaOffset, 4096);
}

t.test('random file operations at once, over pinned pages: nothing is left over', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'e2fsck'] })) return;
  const open = await openImage(newImage(t, [], 16 * MIB));
  const random = randomFrom(testSeed(t));
  for (let round = 0; round < 40; round++) {
    const work = Array.from({ length: 12 }, () => stepAmongOthers(open, random));
    const pins = Array.from({ length: 4 }, () => pinSome(open, random));
    await Promise.all([...work, ...pins]);
    t.ok(await until(() => open.layouts.size === 0), 'what was removed is freed');
    const { status, output } = fsckMounted(open.image);
    if (status !== 0) {
      t.fail(`round ${round}: ${output}`);
      break;
    }
  }
  t.equal(open.layouts.size, 0);
  t.equal(open.volume.reservations.count, 0);
  await closeClean(t, open);
});
