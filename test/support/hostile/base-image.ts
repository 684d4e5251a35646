import { closeSync, ftruncateSync, linkSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { symlinkSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { mountExt4 } from '../../../src/fs/ext4/ext4.js';
import type { Clock } from '../../../src/lib/clock.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { MIB } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { debugfsWrite, fsck, makeImage, runJudge } from '../ext4-image.js';
import { layoutsOf } from '../layouts.js';
import { MemoryBacking } from '../memory-backing.js';
import { BLOCK, inodeOffset, survey } from './atlas.js';
import { seal } from './seal.js';

const IMAGE_BYTES = 8 * MIB;
const UUID = '01234567-89ab-4cde-8f01-23456789abcd';

/** Enough for an index: they fill three blocks. */
const INDEXED_NAMES = 180;

/**
 * An image of 8 MiB with one of everything: linear and indexed directories, extent trees of
 * depth 0, 1 and 2, holes and unwritten blocks, both kinds of symlink, device nodes, attributes
 * in an inode and in a block, hard links, an orphan file. e2fsck finds nothing wrong with it,
 * and each is like the other, byte by byte: a seed makes the same mutated image every day.
 *
 * @param scratch a directory for it
 */
export function makeBaseImage(scratch: string): Buffer {
  const source = join(scratch, 'source');
  makeSource(source);
  const image = join(scratch, 'base.img');
  const extended = `orphan_file_size=2,hash_seed=${UUID}`;
  const features = ['-O', 'orphan_file', '-E', extended, '-U', UUID];
  makeImage(image, IMAGE_BYTES, [...features, '-N', '128', '-g', '1024', '-d', source]);
  debugfsWrite(image, [
    'fallocate /unwritten 2 9',
    'mknod /null c 1 3',
    'mknod /pipe p',
    'ea_set /small user.inline value',
    `ea_set /lin/file-1 user.large ${'x'.repeat(1500)}`,
    'ea_set /lin/file-1 security.other y',
  ]);
  const indexed = runJudge('e2fsck', ['-fyD', image]);
  const bytes = withoutTimes(deepen(readFileSync(image)));
  writeFileSync(image, bytes);
  const { status, output } = fsck(image);
  if (status !== 0) throw new Error(`the image is not clean: ${indexed.output} ${output}`);
  return bytes;
}

/** What the log of the dirty image begins with. */
const SEQUENCE = 0x5eed;
/** It stands still, so that nothing of an image tells when it was made. */
const CLOCK: Clock = { nowMs: () => 0, wallMs: () => 1_700_000_000_000, setTimer: () => () => {} };

/**
 * The same with a log to be replayed: a copy of the media while daxd has it mounted and has
 * made changes of each kind.
 */
export async function makeDirtyImage(base: Buffer): Promise<Buffer> {
  const backing = new MemoryBacking(base.length);
  backing.mapping.write(0, base);
  const range = new BackingRange(backing, 0, base.length);
  const options = { readOnly: false, layouts: layoutsOf(), log: silentLogger, clock: CLOCK };
  // The same image each time, so that a seed makes the same mutants of it.
  const fs = await mountExt4(range, { ...options, random: () => SEQUENCE });
  await fs.link('lin/file-4', 'lin/linked');
  await fs.truncate(fs.lookup('fragments'), 3 * BLOCK);
  await fs.rename('lin/file-3', 'tree/moved');
  await fs.unlink('holes');
  await fs.write(fs.lookup('small'), 2 * BLOCK, Buffer.alloc(4 * BLOCK, 0x71));
  const copy = Buffer.alloc(base.length);
  range.read(0, copy);
  await fs.unmount();
  return copy;
}

function makeSource(source: string): void {
  mkdirSync(join(source, 'lin/sub/deeper'), { recursive: true });
  mkdirSync(join(source, 'tree'));
  for (let i = 0; i < 12; i++) writeFileSync(join(source, 'lin', `file-${i}`), `content ${i}`);
  for (let i = 0; i < INDEXED_NAMES; i++) {
    linkSync(join(source, 'lin/file-0'), join(source, 'tree', `a-rather-long-name-number-${i}`));
  }
  writeFileSync(join(source, 'small'), Buffer.alloc(3 * BLOCK + 5, 0x51));
  writeFileSync(join(source, 'unwritten'), Buffer.alloc(BLOCK, 0x52));
  writeFileSync(join(source, 'spare'), Buffer.alloc(BLOCK, 0x53));
  writeFileSync(join(source, 'lin/sub/deeper/leaf'), 'leaf');
  symlinkSync('lin/file-1', join(source, 'short'));
  symlinkSync(`lin/${'sub/../'.repeat(20)}file-2`, join(source, 'long'));
  writeHoles(join(source, 'holes'), 3);
  writeHoles(join(source, 'fragments'), 9);
  writeHoles(join(source, 'deep'), 14);
}

/** Every other block of a file. */
function writeHoles(path: string, blocks: number): void {
  const fd = openSync(path, 'w');
  for (let i = 0; i < blocks; i++) {
    writeSync(fd, Buffer.alloc(BLOCK, 0x61 + i), 0, BLOCK, 2 * i * BLOCK);
  }
  ftruncateSync(fd, 2 * blocks * BLOCK + 100);
  closeSync(fd);
}

/**
 * Puts a level into the tree of `/deep`: the block of `/spare` becomes an index block between
 * its root and its leaf. The bitmaps stay as they are.
 */
function deepen(image: Buffer): Buffer {
  const atlas = survey(image);
  const top = inodeOffset(atlas, 2);
  const byName = (name: string): number => entryNamed(image, top, name);
  const deep = inodeOffset(atlas, byName('deep'));
  const spare = inodeOffset(atlas, byName('spare'));
  const between = image.readUInt32LE(spare + 0x28 + 12 + 8);

  const root = image.subarray(deep + 0x28, deep + 0x64);
  const block = image.subarray(between * BLOCK, (between + 1) * BLOCK);
  block.fill(0);
  root.copy(block, 0, 0, 24);
  block.writeUInt16LE(340, 4);
  root.writeUInt16LE(2, 6);
  root.writeUInt32LE(between, 12 + 4);
  addSectors(image, deep, 8);

  image.writeUInt32LE(0, spare + 4);
  image.fill(0, spare + 0x28 + 12, spare + 0x64);
  image.writeUInt16LE(0, spare + 0x28 + 2);
  addSectors(image, spare, -8);

  const at = { offset: between * BLOCK, length: BLOCK, owner: byName('deep') };
  seal(image, atlas, { kind: 'extent block', ...at });
  for (const structure of atlas.byKind.get('inode') ?? []) seal(image, atlas, structure);
  return image;
}

/** Takes out when it was made, and by whom. */
function withoutTimes(image: Buffer): Buffer {
  const atlas = survey(image);
  const [superblock] = atlas.byKind.get('superblock') ?? [];
  if (superblock === undefined) throw new Error('an image has a superblock');
  const backup = { ...superblock, offset: atlas.blocksPerGroup * BLOCK };
  for (const copy of [superblock, backup]) {
    for (const field of [0x2c, 0x30, 0x40, 0x108, 0x178, 0x17c]) {
      image.writeUInt32LE(0, copy.offset + field);
    }
    seal(image, atlas, copy);
  }
  // The inode of bad blocks has no mode, and so is none of the structures, but it has times.
  const badBlocks = {
    kind: 'inode',
    offset: inodeOffset(atlas, 1),
    length: 256,
    owner: 1,
  } as const;
  for (const inode of [badBlocks, ...(atlas.byKind.get('inode') ?? [])]) {
    for (const field of [0x08, 0x0c, 0x10, 0x84, 0x88, 0x8c, 0x90, 0x94]) {
      image.writeUInt32LE(0, inode.offset + field);
    }
    seal(image, atlas, inode);
  }
  return image;
}

function addSectors(image: Buffer, inode: number, sectors: number): void {
  image.writeUInt32LE(image.readUInt32LE(inode + 0x1c) + sectors, inode + 0x1c);
}

/** The inode of a name in a directory of one block, whose own inode lies at `directory`. */
function entryNamed(image: Buffer, directory: number, wanted: string): number {
  const block = image.readUInt32LE(directory + 0x28 + 12 + 8) * BLOCK;
  for (let at = block; at < block + BLOCK - 12; at += image.readUInt16LE(at + 4)) {
    const name = image.toString('latin1', at + 8, at + 8 + (image[at + 6] ?? 0));
    if (name === wanted) return image.readUInt32LE(at);
  }
  throw new Error(`${wanted} is not in the directory`);
}
