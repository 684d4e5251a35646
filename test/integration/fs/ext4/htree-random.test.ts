import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { addInode } from '../../../../src/fs/ext4/namei.js';
import { resolve } from '../../../../src/fs/ext4/named-inode.js';
import { MIB } from '../../../../src/lib/units.js';
import {
  debugfs,
  debugfsWrite,
  fsck,
  makeImage,
  runJudge,
  withLoopMount,
} from '../../../support/ext4-image.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { SeededRandom } from '../../../support/seeded-random.js';
import { BATCH, ManyNames } from './many-names.js';
import { mountImage } from './set-up.js';
import { closeClean, openImage } from './volume-set-up.js';

const JUDGES = { commands: ['mke2fs', 'tune2fs', 'e2fsck', 'debugfs', 'mount'], root: true };
const TEA_BLOCK_BYTES = 16;
/** As they stand in the root of an index. */
const HASH_VERSIONS = { legacy: 0, half_md4: 1, tea: 2 };

interface Hashing {
  readonly algorithm: keyof typeof HASH_VERSIONS;
  readonly unsigned: boolean;
  /** What the seed of the hashes is drawn from. */
  readonly random: SeededRandom;
}

function uuidFrom(random: SeededRandom): string {
  const hex = random.bytes(16).toString('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** An image whose directories are hashed in one of the ways that there are. */
function makeHashedImage(t: Test, path: string, { algorithm, unsigned, random }: Hashing): void {
  makeImage(path, 128 * MIB, ['-N', '40000', '-E', `hash_seed=${uuidFrom(random)}`]);
  t.match(runJudge('tune2fs', ['-E', `hash_alg=${algorithm}`, path]), { status: 0 });
  if (unsigned) debugfsWrite(path, ['ssv flags 2']);
}

/** Names and inodes as daxd lists them, in latin1, sorted. */
function listed(fs: Ext4, directory: string): string[] {
  const lines = [...fs.readdir(fs.lookup(directory))].map(
    ({ name, inode }) => `${name.toString('latin1')} ${inode}`,
  );
  return lines.toSorted();
}

/** The same from the kernel, which looks up each name by its own hash. */
function listedByKernel(directory: string): string[] {
  const lines = readdirSync(directory, { encoding: 'buffer' }).map((name) => {
    const path = Buffer.concat([Buffer.from(`${directory}/`), name]);
    return `${name.toString('latin1')} ${lstatSync(path).ino}`;
  });
  return lines.toSorted();
}

/** Has e2fsck look, then optimize the directories of a copy: it must have nothing to repair. */
function judge(t: Test, image: string): void {
  const { status, output } = fsck(image);
  t.equal(status, 0, `e2fsck -fn: ${status === 0 ? 'clean' : output}`);
  t.notMatch(output, /HTREE/);
  const copy = `${image}.copy`;
  copyFileSync(image, copy);
  const optimized = runJudge('e2fsck', ['-fyD', copy]);
  t.notMatch(optimized.output, /Problem|HTREE|Fix|Clear|<y>|Duplicate|yes/, 'e2fsck -fyD');
  t.match(fsck(copy), { status: 0 });
}

for (const [algorithm, unsigned, count] of [
  ['half_md4', false, 4000],
  ['half_md4', true, 1000],
  ['tea', false, 1000],
  ['tea', true, 1000],
  ['legacy', false, 1000],
  ['legacy', true, 1000],
] as const) {
  const title = `${algorithm} ${unsigned ? 'unsigned' : 'signed'}`;
  t.test(`random names under ${title}: e2fsck is content, the kernel finds each`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const random = new SeededRandom(testSeed(t));
    const image = join(scratchDirectory(t), 'image');
    makeHashedImage(t, image, { algorithm, unsigned, random });
    const { fs, close } = await mountImage(image);
    await fs.mkdir('d');
    const many = new ManyNames(fs, random, 'd');
    await many.create(count);
    for (let round = times(2); round > 0; round--) await many.mix(BATCH);
    const ours = listed(fs, 'd');
    t.strictSame(
      ours.map((line) => line.slice(0, line.lastIndexOf(' '))),
      many.names.map((name) => Buffer.from(name).toString('latin1')).toSorted(),
      'the names that must be there',
    );
    for (const name of many.names.slice(0, 500)) fs.lookup(`d/${name}`);
    t.throws(() => fs.lookup(`d/${many.newName()}`), { code: 'ENOENT', name: 'DaxdError' });
    await close();

    judge(t, image);
    const version = new RegExp(`Hash Version: ${HASH_VERSIONS[algorithm]}$`, 'm');
    t.match(debugfs(image, 'htree_dump /d'), version, 'there is an index');
    await withLoopMount(image, 'ro', (directory) => {
      t.strictSame(listedByKernel(join(directory, 'd')), ours);
    });
  });
}

t.test(
  'ext4.md 7.14, 7.15: a directory of 10,000 names that the kernel made, and back',
  async (t) => {
    if (!requires(t, JUDGES)) return;
    const random = new SeededRandom(testSeed(t));
    const image = join(scratchDirectory(t), 'image');
    makeHashedImage(t, image, { algorithm: 'half_md4', unsigned: false, random });
    await withLoopMount(image, 'rw', (directory) => {
      const raw = Array.from({ length: 9000 }, (_, i) => rawName(random, i)).join('\0');
      const input = Buffer.from(raw, 'latin1');
      // One process makes them all: every byte but "/" and NUL, 1 to 255 of them.
      spawnSync('xargs', ['-0', 'touch', '--'], { input, cwd: directory });
      for (let i = 0; i < 1000; i++) writeFileSync(join(directory, `plain-${i}`), '');
    });

    const { fs, close } = await mountImage(image);
    t.equal([...fs.readdir(fs.lookup(''))].length, 10_001, 'with lost+found');
    const many = new ManyNames(fs, random, '.');
    await Promise.all(Array.from({ length: 300 }, () => fs.create(many.newName())));
    await Promise.all(
      Array.from({ length: 900 }, async (_, i) => {
        if (i % 3 === 0) await fs.unlink(`plain-${i}`);
        else if (i % 3 === 1) await fs.rename(`plain-${i}`, `moved-${i}`);
        else if (i % 2 === 0) await fs.rename(`plain-${i}`, `plain-${900 + (i % 100)}`);
      }),
    );
    const ours = listed(fs, '');
    await close();

    judge(t, image);
    await withLoopMount(image, 'rw', (directory) => {
      t.strictSame(listedByKernel(directory), ours);
      for (let i = 1; i < 900; i += 6) {
        renameSync(join(directory, `moved-${i}`), join(directory, `back-${i}`));
      }
      for (let i = 4; i < 900; i += 6) unlinkSync(join(directory, `moved-${i}`));
      for (let i = 0; i < 500; i++) writeFileSync(join(directory, `kernel-${i}`), '');
      ours.splice(0, ours.length, ...listedByKernel(directory));
    });
    const again = await mountImage(image);
    t.strictSame(listed(again.fs, ''), ours);
    for (let i = 0; i < 500; i++) again.fs.lookup(`kernel-${i}`);
    await again.close();
    judge(t, image);
  },
);

/** Any bytes that a name may have, as latin1. */
function rawName(random: SeededRandom, i: number): string {
  const unique = i.toString(36).padStart(3, '0');
  const rest = random
    .bytes(random.below(i % 7 === 0 ? 253 : 30))
    .map((byte) => (byte === 0x2f ? 0xaf : byte));
  return unique + Buffer.from(rest).toString('latin1');
}

t.test('hundreds of names with one hash: found by daxd, e2fsck and the kernel', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  const random = new SeededRandom(testSeed(t));
  makeHashedImage(t, image, { algorithm: 'tea', unsigned: false, random });
  const opened = await openImage(image);
  const { fs, volume } = opened;
  const parent = await fs.mkdir('d');
  const names = Array.from({ length: 300 }, (_, i) => teaTwin(i));
  const add = async (name: Buffer): Promise<void> => {
    await volume.transact((txn) => {
      const end = resolve(txn, volume, [Buffer.from('d'), name], { follow: false });
      return addInode(txn, volume, { end, mode: 0o100644 }, () => {});
    });
  };
  await Promise.all(names.map(add));
  for (let i = 0; i < 100; i++) await fs.create(`d/other-${i}`);
  t.equal([...fs.readdir(parent)].length, 400);
  for (const name of names) {
    const { inode } = resolve(volume, volume, [Buffer.from('d'), name], { follow: false });
    t.ok(inode !== undefined, name.toString('latin1').slice(0, 20));
  }
  const ours = listed(fs, 'd');
  await closeClean(t, opened);

  judge(t, image);
  const hashes = debugfs(image, 'htree_dump /d').matchAll(/^Entry #\d+: Hash (0x[0-9a-f]+)/gm);
  const continued = [...hashes].filter(([, hash]) => Number(hash) % 2 === 1);
  t.ok(continued.length > 5, 'leaves go on with a hash');
  await withLoopMount(image, 'ro', (directory) => {
    t.strictSame(listedByKernel(join(directory, 'd')), ours);
  });
});

/**
 * The `i`-th of 4 ** 15 names of 240 bytes that have one TEA hash: each key of this cipher has
 * three others that are as good, with the top bits of its first two or last two words flipped.
 */
function teaTwin(i: number): Buffer {
  const name = Buffer.alloc(15 * TEA_BLOCK_BYTES, 'k');
  for (let block = 0, rest = i; rest > 0; block++, rest = Math.floor(rest / 4)) {
    const at = block * TEA_BLOCK_BYTES;
    for (const [bit, words] of [
      [1, [0, 4]],
      [2, [8, 12]],
    ] as const) {
      if ((rest & bit) === 0) continue;
      for (const word of words) name[at + word] = 0x80 | (name[at + word] ?? 0);
    }
  }
  return name;
}

t.test('the same changes give the index that the kernel makes of them', async (t) => {
  if (!requires(t, JUDGES)) return;
  const random = new SeededRandom(testSeed(t));
  const [theirs, ours] = ['theirs', 'ours'].map((name) => join(scratchDirectory(t), name));
  if (theirs === undefined || ours === undefined) return;
  makeHashedImage(t, theirs, { algorithm: 'half_md4', unsigned: false, random });
  copyFileSync(theirs, ours);
  const names = Array.from(
    { length: 4000 },
    (_, i) => `d/${i}-${'x'.repeat(random.below(i % 5 === 0 ? 240 : 40))}`,
  );
  const [first, second] = [names.slice(0, 3000), names.slice(3000)];
  const removed = first.filter((_, i) => i % 3 !== 1);

  await withLoopMount(theirs, 'rw', (directory) => {
    mkdirSync(join(directory, 'd'));
    for (const name of first) writeFileSync(join(directory, name), '');
    for (const name of removed) unlinkSync(join(directory, name));
    for (const name of second) writeFileSync(join(directory, name), '');
  });
  const { fs, close } = await mountImage(ours);
  await fs.mkdir('d');
  await Promise.all(first.map((name) => fs.create(name)));
  await Promise.all(removed.map((name) => fs.unlink(name)));
  await Promise.all(second.map((name) => fs.create(name)));
  await close();
  t.strictSame(dumpOf(ours), dumpOf(theirs));
});

/** Index and leaves of /d as debugfs dumps them, record by record, without what the inode differs in. */
function dumpOf(image: string): string[] {
  const lines = debugfs(image, 'htree_dump /d').split('\n');
  return lines.map((line) => line.replaceAll(/phys \d+|checksum: 0x[0-9a-f]+/gi, ''));
}
