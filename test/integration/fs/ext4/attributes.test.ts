import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { systemClock } from '../../../../src/lib/clock.js';
import { MIB } from '../../../../src/lib/units.js';
import { makeImage, runJudge, withLoopMount } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { finish, mountEmpty, mountImage, readAll, refuses } from './set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'mount', 'touch', 'chmod', 'chown'], root: true };
const SECOND = 1_000_000_000n;
/** Seconds with a fraction as touch takes them, and the nanoseconds. */
const TIMES: readonly (readonly [string, bigint])[] = [
  ['0', 0n],
  ['1700000000.123456789', 1_700_000_000_123_456_789n],
  ['-1.5', -1_500_000_000n],
  ['-2147483648', -2_147_483_648n * SECOND],
  ['-2147483649.7', -2_147_483_649_700_000_000n],
  ['2147483647.999999999', 2_147_483_647_999_999_999n],
  ['2147483648', 2_147_483_648n * SECOND],
  ['4294967296.5', 4_294_967_296_500_000_000n],
  ['15032385534.999999999', 15_032_385_534_999_999_999n],
  ['15032385535.25', 15_032_385_535_250_000_000n],
  ['15032385536', 15_032_385_536n * SECOND],
  ['99999999999', 99_999_999_999n * SECOND],
];

t.test('setAttributes: times as the kernel stores them, to the ends of the format', async (t) => {
  if (!requires(t, JUDGES)) return;
  for (const inodeSize of [256, 128]) {
    const directory = scratchDirectory(t);
    const theirs = join(directory, 'theirs');
    const ours = join(directory, 'ours');
    makeImage(theirs, 32 * MIB, ['-I', String(inodeSize)]);
    await withLoopMount(theirs, 'rw', (root) => {
      for (const i of TIMES.keys()) writeFileSync(join(root, `f${i}`), '');
    });
    copyFileSync(theirs, ours);
    const seen = (root: string): bigint[][] =>
      [...TIMES.keys()].map((i) => {
        const { atimeNs, mtimeNs } = lstatSync(join(root, `f${i}`), { bigint: true });
        return [atimeNs, mtimeNs];
      });
    await withLoopMount(theirs, 'rw', (root) => {
      for (const [i, [seconds]] of TIMES.entries()) {
        t.match(runJudge('touch', ['-m', '-d', `@${seconds}`, join(root, `f${i}`)]), { status: 0 });
        t.match(runJudge('touch', ['-a', '-d', `@${seconds}`, join(root, `f${i}`)]), { status: 0 });
      }
    });
    const wanted = await withLoopMount(theirs, 'ro', seen);

    const mounted = { ...(await mountImage(ours)), image: ours };
    const { fs } = mounted;
    for (const [i, [, timeNs]] of TIMES.entries()) {
      await fs.setAttributes(fs.lookup(`f${i}`), { atimeNs: timeNs, mtimeNs: timeNs });
    }
    const own = [...TIMES.keys()].map((i) => {
      const { atimeNs, mtimeNs } = fs.stat(fs.lookup(`f${i}`));
      return [atimeNs, mtimeNs];
    });
    await finish(t, mounted);
    t.strictSame(own, wanted, `inodes of ${inodeSize} bytes`);
    t.strictSame(await withLoopMount(ours, 'ro', seen), wanted, 'the kernel reads the same');
  }
});

t.test('setAttributes: mode and owner as chmod and chown leave them', async (t) => {
  if (!requires(t, JUDGES)) return;
  const directory = scratchDirectory(t);
  const theirs = join(directory, 'theirs');
  const ours = join(directory, 'ours');
  makeImage(theirs, 32 * MIB);
  await withLoopMount(theirs, 'rw', (root) => {
    writeFileSync(join(root, 'file'), 'x');
    mkdirSync(join(root, 'dir'));
    symlinkSync('file', join(root, 'link'));
    runJudge('mknod', [join(root, 'fifo'), 'p']);
  });
  copyFileSync(theirs, ours);
  const steps: readonly (readonly [string, { mode?: number; uid?: number; gid?: number }])[] = [
    ['file', { mode: 0o640 }],
    ['file', { mode: 0o6777 }],
    ['file', { uid: 1 }],
    ['file', { mode: 0o6767 }],
    ['file', { gid: 4_000_000_000 }],
    ['dir', { mode: 0o7755 }],
    ['dir', { uid: 65_536, gid: 65_535 }],
    ['link', { uid: 3, gid: 4 }],
    ['fifo', { mode: 0o4111 }],
    ['fifo', { gid: 9 }],
  ];
  const wanted = await withLoopMount(theirs, 'rw', (root) =>
    steps.map(([name, { mode, uid, gid }]) => {
      const path = join(root, name);
      if (mode !== undefined) runJudge('chmod', [mode.toString(8).padStart(5, '0'), path]);
      else runJudge('chown', ['-h', `${uid ?? ''}${gid === undefined ? '' : `:${gid}`}`, path]);
      return shown(lstatSync(path));
    }),
  );
  const mounted = { ...(await mountImage(ours)), image: ours };
  const { fs } = mounted;
  for (const [i, [name, change]] of steps.entries()) {
    const inode = fs.lookup(name, { follow: false });
    const before = fs.stat(inode);
    const startedNs = BigInt(Math.floor(systemClock.wallMs())) * 1_000_000n;
    await fs.setAttributes(inode, change);
    const stat = fs.stat(inode);
    t.strictSame(shown(stat), wanted[i], `${name} ${JSON.stringify(change)}`);
    t.ok(stat.ctimeNs >= startedNs, 'ctime is now');
    t.strictSame([stat.mtimeNs, stat.atimeNs], [before.mtimeNs, before.atimeNs]);
  }
  const file = fs.lookup('file');
  await fs.setAttributes(file, { mode: 0o4755, uid: 5 });
  t.equal(fs.stat(file).mode, 0o104755, 'a mode in the same call comes after the owner');
  await fs.setAttributes(file, { mode: 0o40644 });
  t.equal(fs.stat(file).mode, 0o100644, 'the type stays');
  const link = fs.lookup('link', { follow: false });
  await refuses(t, mounted, 'EOPNOTSUPP', () => fs.setAttributes(link, { mode: 0o600 }));
  for (const id of [-1, 0.5, 2 ** 32 - 1, NaN]) {
    await refuses(t, mounted, 'EINVAL', () => fs.setAttributes(file, { uid: id }));
    await refuses(t, mounted, 'EINVAL', () => fs.setAttributes(file, { gid: id }));
  }
  await finish(t, mounted);
});

function shown({ mode, uid, gid }: { mode: number; uid: number; gid: number }): string {
  return `${mode.toString(8)} ${uid}:${gid}`;
}

t.test('setAttributes, setXattr: an immutable file is left alone', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'mount', 'chattr'], root: true })) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 32 * MIB);
  await withLoopMount(image, 'rw', (root) => {
    for (const flag of ['i', 'a']) {
      writeFileSync(join(root, flag), 'x');
      runJudge('chattr', [`+${flag}`, join(root, flag)]);
    }
  });
  const mounted = { ...(await mountImage(image)), image };
  const { fs } = mounted;
  for (const flag of ['i', 'a']) {
    const inode = fs.lookup(flag);
    await refuses(t, mounted, 'EPERM', () => fs.setAttributes(inode, { mode: 0o600 }));
    await refuses(t, mounted, 'EPERM', () => fs.setXattr(inode, 'user.a', Buffer.from('x')));
  }
  await finish(t, mounted);
  const readOnly = await mountImage(image, { readOnly: true });
  const inode = readOnly.fs.lookup('i');
  await t.rejects(readOnly.fs.setAttributes(inode, {}), { code: 'EROFS' });
  await t.rejects(readOnly.fs.setXattr(inode, 'user.a', Buffer.alloc(1)), { code: 'EROFS' });
  await readOnly.close();
});

t.test('statfs: what is kept for root is free and not available', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'mount'], root: true })) return;
  const mounted = await mountEmpty(t, ['-m', '10']);
  const { fs, image } = mounted;
  const own = fs.statfs();
  t.equal(own.totalBytes, 32 * MIB);
  t.equal(own.freeBytes - own.availableBytes, Math.floor(8192 / 10) * 4096);
  await finish(t, mounted);
  await withLoopMount(image, 'ro', (root) => {
    const theirs = statfsSync(root);
    t.equal(own.freeBytes, theirs.bfree * theirs.bsize);
    t.equal(own.totalInodes, theirs.files);
    t.equal(own.freeInodes, theirs.ffree);
  });
});

async function* bytesOf(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text);
}

/** A file's content as text. */
async function textOf(fs: Ext4, path: string): Promise<string> {
  return (await readAll(fs, fs.lookup(path))).toString();
}

t.test('replace: exclusive makes a file, and never touches one that is there', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'e2fsck'] })) return;
  const mounted = await mountEmpty(t);
  const { fs } = mounted;
  const exclusive = { exclusive: true };
  t.match(await fs.replace('a', bytesOf('one'), exclusive), { created: true });
  await fs.symlink('dangling', 'nowhere');
  await fs.mkdir('dir');
  for (const path of ['a', 'dangling', 'dir']) {
    await refuses(t, mounted, 'EEXIST', () => fs.replace(path, bytesOf('two'), exclusive));
  }
  t.throws(() => fs.lookup('nowhere'), { code: 'ENOENT' });
  const both = await Promise.allSettled([
    fs.replace('b', bytesOf('left'), exclusive),
    fs.replace('b', bytesOf('right'), exclusive),
  ]);
  t.strictSame(both.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'], 'one wins');
  t.equal(await textOf(fs, 'b'), both[0]?.status === 'fulfilled' ? 'left' : 'right');
  t.match(await fs.replace('a', bytesOf('three')), { created: false });
  t.equal(await textOf(fs, 'a'), 'three');
  await finish(t, mounted);
});
