import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { sealDirectoryBlock } from '../../../../src/fs/ext4/directory-block.js';
import { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { IndexTable, sealIndexBlock, setIndexLevels } from '../../../../src/fs/ext4/htree.js';
import { InodeFlag } from '../../../../src/fs/ext4/layout.js';
import { openVolume } from '../../../../src/fs/ext4/mount-state.js';
import { readNamedInode } from '../../../../src/fs/ext4/named-inode.js';
import { systemClock } from '../../../../src/lib/clock.js';
import { silentLogger } from '../../../../src/lib/logger.js';
import { MIB } from '../../../../src/lib/units.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { bytesOf } from '../../../support/backing-bytes.js';
import { debugfsWrite, makeImage } from '../../../support/ext4-image.js';
import { layoutsOf } from '../../../support/layouts.js';
import { MemoryBacking } from '../../../support/memory-backing.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { SeededRandom } from '../../../support/seeded-random.js';
import { tryAll } from './try-all.js';

const JUDGES = { commands: ['mke2fs', 'debugfs'] };
const NAMES = 200;

/** An image with an indexed directory /d, and what it takes to damage it. */
interface Indexed {
  readonly bytes: Buffer;
  /** Seed of the directory's checksums. */
  readonly seed: number;
  /** Its blocks within `bytes`, by logical number. */
  readonly blocks: readonly Buffer[];
}

function nameOf(i: number): string {
  return `name-${i}-${'x'.repeat(80)}`;
}

async function openBytes(bytes: Buffer) {
  const backing = new MemoryBacking(bytes.length);
  backing.mapping.write(0, bytes);
  const range = new BackingRange(backing, 0, bytes.length);
  const options = { readOnly: false, log: silentLogger, clock: systemClock, layouts: layoutsOf() };
  const volume = await openVolume(range, options);
  return { volume, fs: new Ext4(volume), backing };
}

async function makeIndexed(t: Test): Promise<Buffer> {
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 8 * MIB);
  const { fs, backing } = await openBytes(readFileSync(image));
  await fs.mkdir('d');
  await Promise.all(Array.from({ length: NAMES }, (_, i) => fs.create(`d/${nameOf(i)}`)));
  await fs.unmount();
  return bytesOf(backing);
}

/** Makes copies of an image, in which the directory's blocks are found without a mount. */
async function copier(clean: Buffer): Promise<() => Indexed> {
  const { fs, volume } = await openBytes(clean);
  const inode = fs.lookup('d');
  const offsets = fs
    .extents(inode)
    .flatMap(({ mediaOffset, length }) =>
      Array.from({ length: length / 4096 }, (_, i) => mediaOffset + 4096 * i),
    );
  const seed = readNamedInode(volume, volume, inode).checksumSeed;
  return () => {
    const bytes = Buffer.from(clean);
    return { bytes, seed, blocks: offsets.map((at) => bytes.subarray(at, at + 4096)) };
  };
}

/** Every operation on names, each of which may fail with a DaxdError only, and in time. */
async function tryEverything(t: Test, fs: Ext4, title: string): Promise<string[]> {
  const attempts: (() => unknown)[] = [
    ...Array.from({ length: 20 }, (_, i) => () => fs.lookup(`d/${nameOf(i)}`)),
    () => fs.lookup('d/none'),
    () => [...fs.readdir(fs.lookup('d'))],
    ...Array.from({ length: 10 }, (_, i) => () => fs.create(`d/new-${i}-${'n'.repeat(200)}`)),
    () => fs.rename(`d/${nameOf(3)}`, `d/${nameOf(4)}`),
    () => fs.rename(`d/${nameOf(5)}`, 'd/renamed'),
    () => fs.unlink(`d/${nameOf(6)}`),
    () => fs.rename('d', 'lost+found/d'),
    () => fs.unlink('lost+found/d'),
  ];
  return await tryAll(t, title, attempts);
}

t.test('a damaged index: EUCLEAN names the directory, and nothing is stored', async (t) => {
  if (!requires(t, JUDGES)) return;
  const copy = await copier(await makeIndexed(t));
  const damages: Record<string, (root: Buffer, count: number) => void> = {
    'a leaf is the root': (root) => root.writeUInt32LE(0, 0x24),
    'one leaf twice': (root) => root.writeUInt32LE(new IndexTable(root, 0).child(0), 0x2c),
    'past the end': (root, count) => root.writeUInt32LE(count, 0x24),
    'a wrong limit': (root) => root.writeUInt16LE(400, 0x20),
    'a count past the limit': (root) => root.writeUInt16LE(507, 0x22),
    unsorted: (root) => root.writeUInt32LE(0xfffffff0, 0x28),
    'a leaf is a node': (root) => {
      setIndexLevels(root, 1);
    },
    'ten levels': (root) => {
      setIndexLevels(root, 10);
    },
    'an unknown hash': (root) => root.writeUInt8(6, 0x1c),
  };
  for (const [title, damage] of Object.entries(damages)) {
    const { bytes, blocks, seed } = copy();
    const [root = Buffer.alloc(0)] = blocks;
    damage(root, blocks.length);
    // What claims more than fits has no place for a checksum.
    if (root.readUInt16LE(0x20) === 507 && root.readUInt16LE(0x22) < 507) {
      sealIndexBlock(root, seed, 0);
    }
    const { fs, backing } = await openBytes(bytes);
    const before = digest(bytesOf(backing));
    const named = {
      code: /EUCLEAN|EBADMSG/,
      message: /^(checksum mismatch: )?directory inode \d+/,
    };
    t.throws(() => fs.lookup(`d/${nameOf(1)}`), named, title);
    t.throws(() => [...fs.readdir(fs.lookup('d'))], named, title);
    await t.rejects(fs.create('d/new'), named, title);
    await t.rejects(fs.unlink(`d/${nameOf(1)}`), named, title);
    await t.rejects(fs.unlink('d'), named, title);
    t.equal(digest(bytesOf(backing)), before, `${title}: not a byte changed`);
  }
});

t.test('a leaf that the index does not lead to, or leads to wrongly: no harm', async (t) => {
  if (!requires(t, JUDGES)) return;
  const copy = await copier(await makeIndexed(t));
  const { bytes, blocks, seed } = copy();
  const [root = Buffer.alloc(0)] = blocks;
  const table = new IndexTable(root, 0);
  const [first, second] = [table.child(0), table.child(1)];
  root.writeUInt32LE(second, 0x24);
  root.writeUInt32LE(first, 0x2c);
  sealIndexBlock(root, seed, 0);
  const { fs } = await openBytes(bytes);
  t.equal([...fs.readdir(fs.lookup('d'))].length, NAMES, 'all are listed');
  const codes = await tryEverything(t, fs, 'two leaves exchanged');
  t.ok(codes.includes('ENOENT'), 'names in the wrong leaf are not found');
});

t.test('an index without the feature dir_index, or without its flag, is EUCLEAN', async (t) => {
  if (!requires(t, JUDGES)) return;
  const named = { code: 'EUCLEAN', message: /^directory inode/ };
  const clean = await makeIndexed(t);
  const { fs, volume } = await openBytes(clean);
  const inode = readNamedInode(volume, volume, fs.lookup('d'));
  await volume.transact((txn) => {
    inode.flags &= ~InodeFlag.Index;
    inode.store(txn);
  });
  t.throws(() => fs.lookup(`d/${nameOf(1)}`), named, 'the root of an index is no leaf');

  const image = join(scratchDirectory(t), 'image');
  writeFileSync(image, clean);
  debugfsWrite(image, ['feature ^dir_index']);
  const { fs: other } = await openBytes(readFileSync(image));
  t.throws(() => other.lookup(`d/${nameOf(1)}`), named, 'the feature is off');
});

t.test('bytes of an index flipped at random: nothing but a DaxdError, in time', async (t) => {
  if (!requires(t, JUDGES)) return;
  const random = new SeededRandom(testSeed(t));
  const copy = await copier(await makeIndexed(t));
  let refused = 0;
  const rounds = times(200);
  for (let i = 0; i < rounds; i++) {
    const { bytes, blocks, seed } = copy();
    const logical = random.below(2) === 0 ? 0 : random.below(blocks.length);
    const block = blocks[logical] ?? Buffer.alloc(0);
    for (let flips = 1 + random.below(3); flips > 0; flips--) {
      block[random.below(logical === 0 ? 160 : 4096)] = random.below(256);
    }
    seal(block, logical, seed);
    const { fs } = await openBytes(bytes);
    const codes = await tryEverything(t, fs, `image ${i}`);
    if (codes.some((code) => code === 'EUCLEAN' || code === 'EBADMSG')) refused++;
  }
  t.ok(refused > rounds / 4, `${refused} of ${rounds} images had something to refuse`);
});

/** Seals what still has a place for its checksum. */
function seal(block: Buffer, logical: number, seed: number): void {
  if (logical > 0 && block.readUInt8(4091) === 0xde) sealDirectoryBlock(block, seed);
  const fits = block.readUInt16LE(0x20) === 507 && block.readUInt16LE(0x22) <= 507;
  if (logical === 0 && fits) sealIndexBlock(block, seed, 0);
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
