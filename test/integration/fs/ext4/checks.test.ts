/**
 * The acceptance checks of the format's reference, by their number: `ext4.md 7.1` to
 * `ext4.md 7.25`. Those that stand here have no better place; the rest lie beside what they
 * are about, and the first test sees that none is missing.
 */
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import t from 'tap';

import { Group } from '../../../../src/fs/ext4/group.js';
import { Superblock } from '../../../../src/fs/ext4/superblock.js';
import { MIB } from '../../../../src/lib/units.js';
import { debugfs, fsck, makeImage, runJudge, withLoopMount } from '../../../support/ext4-image.js';
import { type Kind, survey } from '../../../support/hostile/atlas.js';
import { makeBaseImage } from '../../../support/hostile/base-image.js';
import { exercise } from '../../../support/hostile/exercise.js';
import { GuardedBacking } from '../../../support/hostile/guarded-backing.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { SeededRandom } from '../../../support/seeded-random.js';
import { mountForTest, mountImage, readAll } from './set-up.js';

const CHECKS = 25;
const TESTS = fileURLToPath(new URL('../../..', import.meta.url));

t.test('every check of the reference has a test that says so in its title', async (t) => {
  const files = readdirSync(TESTS, { recursive: true, encoding: 'utf8' });
  const texts = files
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => readFileSync(join(TESTS, name), 'utf8'));
  const code = texts
    .flatMap((text) => text.split('\n'))
    .filter((line) => !/^\s*(\/\/|\*)/.test(line));
  // In a title, such as `ext4.md 7.18, 7.19: ...`, which stands for both.
  const named = code.flatMap((line) => line.match(/['"`].*ext4\.md 7\.\d+(, 7\.\d+)*/g) ?? []);
  const found = new Set(
    named.flatMap((title) => title.match(/\b7\.\d+/g) ?? []).map((check) => Number(check.slice(2))),
  );
  const missing = Array.from({ length: CHECKS }, (_, i) => i + 1).filter((n) => !found.has(n));
  t.strictSame(missing, []);
});

/** `Name:   value` of a text as pairs. */
function fieldsOf(text: string): Map<string, string> {
  const lines = [...text.matchAll(/^([A-Z][^:\n]*):[ \t]+(.*?)[ \t]*$/gm)];
  return new Map(lines.map(([, name = '', value = '']) => [name, value]));
}

t.test('ext4.md 7.2: superblock and descriptors say what dumpe2fs prints', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'dumpe2fs'] })) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 300 * MIB, ['-L', 'a label', '-O', 'orphan_file', '-m', '3']);
  const { output } = runJudge('dumpe2fs', [image]);
  const bytes = readFileSync(image);
  const sb = new Superblock(bytes.subarray(1024, 2048));
  const u16 = (at: number): number => sb.bytes.readUInt16LE(at);
  const u32 = (at: number): number => sb.bytes.readUInt32LE(at);
  const printed = fieldsOf(output);
  const expected: Readonly<Record<string, string | number>> = {
    'Filesystem volume name': sb.label,
    'Filesystem UUID': sb.uuid,
    'Filesystem magic number': `0x${u16(0x38).toString(16).toUpperCase()}`,
    'Filesystem state': sb.state === 1 ? 'clean' : 'not clean',
    'Inode count': sb.inodesCount,
    'Block count': sb.blocksCount,
    'Reserved block count': sb.reservedBlocks,
    'Free blocks': u32(0x0c),
    'Free inodes': u32(0x10),
    'First block': u32(0x14),
    'Block size': 1024 * 2 ** u32(0x18),
    'Group descriptor size': sb.descSize,
    'Reserved GDT blocks': sb.reservedGdtBlocks,
    'Blocks per group': sb.blocksPerGroup,
    'Inodes per group': sb.inodesPerGroup,
    'Inode blocks per group': sb.inodeTableBlocks,
    'Flex block group size': 2 ** (sb.bytes[0x174] ?? 0),
    'Mount count': u16(0x34),
    'Maximum mount count': sb.bytes.readInt16LE(0x36),
    'First inode': sb.firstInode,
    'Inode size': sb.inodeSize,
    'Required extra isize': u16(0x15c),
    'Desired extra isize': sb.wantExtraIsize,
    'Journal inode': u32(0xe0),
    'Orphan file inode': u32(0x280),
    Checksum: `0x${u32(0x3fc).toString(16).padStart(8, '0')}`,
  };
  for (const [name, value] of Object.entries(expected)) {
    t.equal(printed.get(name), String(value), name);
  }

  const groups = output.split(/^Group (?=\d)/m).slice(1);
  t.equal(groups.length, sb.groupCount);
  for (const [number, text] of groups.entries()) {
    const at = 4096 + number * sb.descSize;
    const group = new Group(number, bytes.subarray(at, at + sb.descSize));
    t.ok(group.isSealed(sb.checksumSeed));
    const flags = ['INODE_UNINIT', 'BLOCK_UNINIT', 'ITABLE_ZEROED'];
    const set = flags.filter((_, bit) => (group.flags & (1 << bit)) !== 0);
    t.equal(/\[(.*)\]/.exec(text)?.[1] ?? '', set.join(', '), `flags of group ${number}`);
    const stored = bytes.readUInt16LE(at + 0x1e).toString(16);
    t.match(text, `csum 0x${stored.padStart(4, '0')}`);
    t.match(text, `Block bitmap at ${group.blockBitmap} `);
    t.match(text, `Inode bitmap at ${group.inodeBitmap} `);
    t.match(text, `Inode table at ${group.inodeTable}-`);
    const counts = `${group.freeBlocks} free blocks, ${group.freeInodes} free inodes, ${group.usedDirs} directories`;
    t.match(text, counts);
    const unused = /(\d+) unused inodes/.exec(text)?.[1] ?? 0;
    t.equal(Number(unused), group.itableUnused);
    t.equal(group.blockBitmapChecksum.stored, Number(csumOf(text, 'Block bitmap')));
    t.equal(group.inodeBitmapChecksum.stored, Number(csumOf(text, 'Inode bitmap')));
  }
});

/** The checksum that dumpe2fs prints behind a bitmap's place. */
function csumOf(text: string, bitmap: string): string {
  return new RegExp(`${bitmap} at \\d+ .*csum (0x[0-9a-f]+)`).exec(text)?.[1] ?? '';
}

t.test('ext4.md 7.3: inodes and extents of fifty files are those of debugfs', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'debugfs'] })) return;
  const directory = scratchDirectory(t);
  const source = join(directory, 'source');
  mkdirSync(source);
  const random = new SeededRandom(3);
  for (let i = 0; i < 46; i++) {
    const content = random.bytes(1 + random.below(i * 5000 + 10));
    if (i % 3 === 0) content.fill(0, 0, content.length >>> 1);
    writeFileSync(join(source, `file-${i}`), content, { mode: 0o600 + i });
  }
  symlinkSync('short', join(source, 'fast'));
  symlinkSync('x/'.repeat(50), join(source, 'slow'));
  mkdirSync(join(source, 'directory'), 0o711);
  writeFileSync(join(source, 'empty'), '');
  const image = join(directory, 'image');
  makeImage(image, 64 * MIB, ['-d', source]);
  const { fs } = await mountForTest(t, image, { readOnly: true });
  const files = readdirSync(source);
  t.equal(files.length, 50);
  for (const name of files) {
    const number = fs.lookup(name, { follow: false });
    const own = fs.stat(number);
    const text = debugfs(image, `stat <${number}>`);
    const types = { directory: 'directory', symlink: 'symlink', file: 'regular' };
    const type = types[own.type === 'directory' || own.type === 'symlink' ? own.type : 'file'];
    const mode = (own.mode & 0o7777).toString(8).padStart(4, '0');
    t.match(text, new RegExp(`Inode: ${number} +Type: ${type} +Mode: +${mode}`), name);
    t.match(text, new RegExp(`Generation: ${own.generation} `));
    t.match(text, new RegExp(`User: +${own.uid} +Group: +${own.gid}`));
    t.match(text, new RegExp(`Size: ${own.size}\\n`));
    t.match(text, new RegExp(`Links: ${own.nlink} +Blockcount: ${own.blocks}\\n`));
    const seconds = Number(own.mtimeNs / 1_000_000_000n)
      .toString(16)
      .padStart(8, '0');
    t.match(text, new RegExp(`mtime: 0x${seconds}:`));
    if (own.type !== 'file') continue;
    const extents = fs.extents(number).map(({ fileOffset, mediaOffset, length }) => {
      return [fileOffset, mediaOffset, length].map((bytes) => bytes / 4096);
    });
    const rows = debugfs(image, `ex -l <${number}>`).matchAll(
      /^ *\d+\/ *\d+ +\d+\/ *\d+ +(\d+) - +\d+ +(\d+) - +\d+ +(\d+)/gm,
    );
    t.strictSame(
      extents,
      [...rows].map((row) => row.slice(1, 4).map(Number)),
      name,
    );
  }
});

/** The ten kinds of structure that have a checksum, without those of the journal. */
const CHECKSUMMED: readonly (readonly [Kind, RegExp])[] = [
  ['superblock', /superblock/],
  ['descriptor', /group descriptor/],
  ['block bitmap', /block bitmap/],
  ['inode bitmap', /inode bitmap/],
  ['inode', /inode \d+/],
  ['extent block', /extent tree/],
  ['directory leaf', /directory inode/],
  ['index root', /directory inode|index/],
  ['attribute block', /attribute block/],
  ['orphan block', /orphan file/],
];

for (const [kind, message] of CHECKSUMMED) {
  t.test(`ext4.md 7.4: a flipped byte of the ${kind} is EBADMSG and names it`, async (t) => {
    if (!requires(t, { commands: ['mke2fs', 'debugfs', 'e2fsck'] })) return;
    const scratch = scratchDirectory(t);
    const base = makeBaseImage(scratch);
    const named = (survey(base).byKind.get(kind) ?? []).filter(({ owner }) => owner !== 7);
    // Any bitmap may be the one that is looked at; of the others the last will do.
    const flipped = kind.endsWith('bitmap') ? named : named.slice(-1);
    t.ok(flipped.length > 0);
    const backing = new GuardedBacking(base.length);
    base.copy(backing.image);
    for (const { offset } of flipped) {
      // A byte that the checksum covers and that is refused for nothing else.
      const at = offset + (CALM_BYTES[kind] ?? 0);
      backing.image[at] = (backing.image[at] ?? 0) ^ 1;
    }
    const image = join(scratch, 'flipped.img');
    writeFileSync(image, backing.image);
    t.not(fsck(image).status, 0, 'e2fsck sees it too');
    const { defects, refusals, warnings } = await exercise(backing, new SeededRandom(4));
    t.strictSame(defects, []);
    // A group with a damaged bitmap is left out with a warning, as long as there are others.
    const told = [
      ...refusals.filter((text) => text.startsWith('EBADMSG')),
      ...warnings.filter((text) => text.includes('checksum mismatch')),
    ];
    t.ok(
      told.some((text) => message.test(text)),
      `${refusals.length} refusals`,
    );
  });
}

/** Where to flip a byte of each kind: a time, a name, the middle of a bitmap or of a value. */
const CALM_BYTES: Readonly<Partial<Record<Kind, number>>> = {
  superblock: 0x78,
  descriptor: 0x0c,
  'block bitmap': 0x7f,
  'inode bitmap': 0x07,
  inode: 0x08,
  'extent block': 12 + 8,
  'directory leaf': 0x0c + 0x0c + 8,
  'index root': 0x29,
  'attribute block': 4090,
  'orphan block': 2000,
};

t.test('ext4.md 7.8: many small groups lose their UNINIT flags where they are used', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'e2fsck', 'dumpe2fs'] })) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 128 * MIB, ['-g', '2048']);
  const { fs, close } = await mountImage(image);
  for (let i = 0; i < 12; i++) {
    await fs.mkdir(`d${i}`);
    for (let j = 0; j < 6; j++) {
      const file = await fs.create(`d${i}/f${j}`);
      await fs.write(file, 0, Buffer.alloc(MIB + 4096 * j, 1 + i));
    }
  }
  await close();
  t.match(fsck(image), { status: 0 });
  const bytes = readFileSync(image);
  const { descSize, checksumSeed, inodesPerGroup, groupCount } = new Superblock(
    bytes.subarray(1024, 2048),
  );
  let used = 0;
  for (let number = 0; number < groupCount; number++) {
    const at = 4096 + number * descSize;
    const group = new Group(number, bytes.subarray(at, at + descSize));
    t.ok(group.isSealed(checksumSeed));
    if (group.freeInodes === inodesPerGroup) continue;
    used++;
    t.equal(group.flags & 3, 0, `group ${number} has inodes and neither flag`);
  }
  t.ok(used > 4, `${used} of ${groupCount} groups have inodes`);
});

/** The depth of a tree, as debugfs counts it. */
function depthOf(image: string, number: number): number {
  const [, depth = '0'] = /^ *\d+\/ *(\d+)/m.exec(debugfs(image, `ex <${number}>`)) ?? [];
  return Number(depth);
}

t.test('ext4.md 7.10: a tree of depth 0, 1 and 2, and back by punching holes', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'e2fsck', 'debugfs', 'mount'], root: true })) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 64 * MIB);
  const blocks = 3200;
  const content = new SeededRandom(10).bytes(blocks * 4096);
  const check = async (depth: number, change: (punch: Punch) => Promise<void>): Promise<void> => {
    const { fs, close } = await mountImage(image);
    const file = fs.lookup('file');
    await change(async (from, count) => {
      await fs.punchHole(file, from * 4096, count * 4096);
      content.fill(0, from * 4096, (from + count) * 4096);
    });
    t.ok((await readAll(fs, file)).equals(content));
    await close();
    t.match(fsck(image), { status: 0 });
    t.equal(depthOf(image, file), depth);
    await withLoopMount(image, 'ro', (directory) => {
      t.ok(readFileSync(join(directory, 'file')).equals(content), 'the kernel reads the same');
    });
  };
  const made = await mountImage(image);
  await made.fs.write(await made.fs.create('file'), 0, content);
  await made.close();
  await check(0, async () => {});
  await check(1, everySecond(1, 40));
  await check(2, everySecond(41, blocks));
  await check(1, (punch) => punch(300, blocks - 300));
  await check(0, (punch) => punch(4, 296));
});

type Punch = (from: number, count: number) => Promise<void>;

/** Punches every second block of [from, to). */
function everySecond(from: number, to: number): (punch: Punch) => Promise<void> {
  return async (punch) => {
    for (let block = from; block < to; block += 2) await punch(block, 1);
  };
}
