import { copyFileSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { DaxdError } from '../../../../src/lib/errno.js';
import { MIB } from '../../../../src/lib/units.js';
import { debugfs, fsck, makeImage, withLoopMount } from '../../../support/ext4-image.js';
import { kernelRemoveXattr, kernelSetXattr, kernelXattrs } from '../../../support/kernel-xattrs.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { SeededRandom } from '../../../support/seeded-random.js';
import { ownXattrs } from './own-xattrs.js';
import { finish, mountEmpty, mountImage, refuses } from './set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs', 'mount'], root: true };

/** `ok`, or the code of the refusal. */
async function outcome(change: Promise<unknown>): Promise<string> {
  try {
    await change;
    return 'ok';
  } catch (error) {
    if (error instanceof DaxdError) return error.code;
    throw error;
  }
}

t.test('setXattr: in the inode, in the block, and back, as the kernel reads it', async (t) => {
  if (!requires(t, JUDGES)) return;
  const mounted = await mountEmpty(t);
  const { fs, image } = mounted;
  const file = await fs.create('file');
  const directory = await fs.mkdir('dir');
  const link = await fs.symlink('link', 'file');
  await fs.setXattr(file, 'user.small', Buffer.from('value'));
  await fs.setXattr(file, 'user.empty', Buffer.alloc(0));
  await fs.setXattr(file, 'user.ünï', Buffer.from([0, 255, 0]));
  t.equal(fs.stat(file).blocks, 0, 'all of it has room in the inode');
  await fs.setXattr(file, 'user.large', Buffer.alloc(1000, 'x'));
  await fs.setXattr(file, 'trusted.large', Buffer.alloc(1001, 'y'));
  await fs.setXattr(file, 'security.evm', Buffer.alloc(30, 'z'));
  t.equal(fs.stat(file).blocks, 8, 'the block counts');
  await fs.setXattr(directory, 'user.large', Buffer.alloc(3000, 'd'));
  await fs.setXattr(link, 'trusted.of_link', Buffer.from('l'));
  t.strictSame(fs.getXattr(file, 'user.empty'), Buffer.alloc(0));
  t.strictSame(fs.getXattr(file, 'user.ünï'), Buffer.from([0, 255, 0]));
  const paths = ['file', 'dir', 'link'];
  const own = paths.map((path) => ownXattrs(fs, path));
  t.strictSame(
    own[0]?.map(([name]) => name),
    ['security.evm', 'trusted.large', 'user.empty', 'user.large', 'user.small', 'user.ünï'],
  );
  await finish(t, mounted);
  t.match(debugfs(image, 'ea_list /file'), /user\.small.*"value"/);
  await withLoopMount(image, 'rw', (directory) => {
    t.strictSame(
      paths.map((path) => kernelXattrs(join(directory, path))),
      own,
    );
  });

  const again = { ...(await mountImage(image)), image };
  const inode = again.fs.lookup('file');
  t.strictSame(ownXattrs(again.fs, 'file'), own[0]);
  for (const name of ['user.large', 'trusted.large', 'security.evm']) {
    await again.fs.removeXattr(inode, name);
  }
  t.equal(again.fs.stat(inode).blocks, 0, 'the block is given back');
  await again.fs.setXattr(inode, 'user.small', Buffer.alloc(2000, 's'));
  await again.fs.setXattr(inode, 'user.small', Buffer.from('s'));
  t.equal(again.fs.stat(inode).blocks, 0, 'moved to the block, and back to the inode');
  await again.fs.unlink('dir');
  await finish(t, again);
});

t.test('setXattr: what it refuses, and nothing changes', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'e2fsck', 'chattr', 'mount'], root: true })) return;
  const mounted = await mountEmpty(t);
  const { fs } = mounted;
  const file = await fs.create('file');
  const link = await fs.symlink('link', 'file');
  const value = Buffer.from('v');
  await fs.setXattr(file, 'user.a', value, { only: 'create' });
  await fs.setXattr(file, 'user.a', Buffer.from('w'), { only: 'replace' });
  const before = ownXattrs(fs, 'file');
  for (const [name, code] of [
    ['', 'ERANGE'],
    [`user.${'n'.repeat(251)}`, 'ERANGE'],
    ['user.', 'EINVAL'],
    ['user.a\0b', 'EINVAL'],
    ['user.\ud800', 'EINVAL'],
    ['nouser.a', 'EOPNOTSUPP'],
    ['system.data', 'EOPNOTSUPP'],
    ['system.posix_acl_access', 'EOPNOTSUPP'],
  ] as const) {
    await refuses(t, mounted, code, () => fs.setXattr(file, name, value));
    await refuses(t, mounted, code, () => fs.removeXattr(file, name));
  }
  const change = (name: string, size: number, only?: 'create' | 'replace') => () =>
    fs.setXattr(file, name, Buffer.alloc(size), { only });
  await refuses(t, mounted, 'EEXIST', change('user.a', 1, 'create'));
  await refuses(t, mounted, 'ENODATA', change('user.b', 1, 'replace'));
  await refuses(t, mounted, 'ENODATA', () => fs.removeXattr(file, 'user.b'));
  await refuses(t, mounted, 'ENOSPC', change('user.b', 4096));
  await refuses(t, mounted, 'ENOSPC', change('user.b', 65536));
  await refuses(t, mounted, 'E2BIG', change('user.b', 65537));
  await refuses(t, mounted, 'EPERM', () => fs.setXattr(link, 'user.a', value));
  t.throws(() => fs.getXattr(link, 'user.a'), { code: 'ENODATA' });
  t.throws(() => fs.getXattr(file, 'user.b'), { code: 'ENODATA' });
  t.throws(() => fs.getXattr(999_999, 'user.b'), { code: 'EUCLEAN' });
  t.throws(() => fs.getXattr(8, 'user.b'), { code: 'EUCLEAN' });
  t.strictSame(ownXattrs(fs, 'file'), before);
  const longest = `user.${'n'.repeat(250)}`;
  await fs.setXattr(file, longest, value);
  await finish(t, mounted);

  await withLoopMount(mounted.image, 'rw', (directory) => {
    const path = join(directory, 'file');
    t.strictSame(
      kernelXattrs(path).map(([name]) => name),
      ['user.a', longest].toSorted(),
    );
    for (const [name, code] of [
      ['', 'ERANGE'],
      [`user.${'n'.repeat(251)}`, 'ERANGE'],
      ['user.', 'EINVAL'],
      ['nouser.a', 'EOPNOTSUPP'],
    ] as const) {
      const refusal = kernelSetXattr(path, name, value).replace('ENOTSUP', 'EOPNOTSUPP');
      t.equal(refusal, code, `the kernel says so too: ${code}`);
    }
    t.equal(kernelSetXattr(path, 'user.b', Buffer.alloc(4096)), 'ENOSPC');
    t.equal(kernelSetXattr(path, 'user.b', Buffer.alloc(65537)), 'E2BIG');
  });
});

t.test('setXattr: what does not change the value moves nothing, as in the kernel', async (t) => {
  if (!requires(t, JUDGES)) return;
  const steps = [
    ['user.a', 60],
    ['user.b', 40],
    ['user.a', 0],
    ['user.b', 40],
  ] as const;
  const directory = scratchDirectory(t);
  const theirs = join(directory, 'theirs');
  const ours = join(directory, 'ours');
  makeImage(theirs, 32 * MIB, ['-I', '256']);
  await withLoopMount(theirs, 'rw', (root) => {
    writeFileSync(join(root, 'file'), '');
  });
  copyFileSync(theirs, ours);
  const wanted = await withLoopMount(theirs, 'rw', (root) => {
    const path = join(root, 'file');
    for (const [name, size] of steps) kernelSetXattr(path, name, Buffer.alloc(size));
    return statSync(path).blocks;
  });
  t.equal(wanted, 8, 'the second one has a block, and stays there');
  const mounted = { ...(await mountImage(ours)), image: ours };
  const { fs } = mounted;
  const file = fs.lookup('file');
  for (const [name, size] of steps) await fs.setXattr(file, name, Buffer.alloc(size));
  t.equal(fs.stat(file).blocks, wanted);
  await finish(t, mounted);
});

for (const inodeSize of [256, 128, 512]) {
  t.test(`a random program on inodes of ${inodeSize} bytes, as the kernel runs it`, async (t) => {
    if (requires(t, JUDGES)) await compareProgram(t, inodeSize);
  });
}

/** Runs one program on two copies of an image, by the kernel and by daxd. */
async function compareProgram(t: Test, inodeSize: number): Promise<void> {
  const seed = testSeed(t);
  const random = new SeededRandom(seed);
  const operations = Array.from({ length: times(200) }, () => ({
    path: ['one', 'two', 'dir'][random.below(3)] ?? '',
    name: `${['user', 'trusted', 'security'][random.below(3)]}.${'äb'.repeat(1 + random.below(4))}${random.below(4)}`,
    // Often the same, which stays where it stands.
    value: Buffer.alloc(
      [random.below(2) * 60, random.below(40), random.below(400), random.below(4200)][
        random.below(4)
      ] ?? 0,
      random.below(2) * random.below(256),
    ),
    kind: (['set', 'set', 'set', 'create', 'replace', 'remove'] as const)[random.below(6)] ?? 'set',
  }));
  const directory = scratchDirectory(t);
  const theirs = join(directory, 'theirs');
  const ours = join(directory, 'ours');
  makeImage(theirs, 32 * MIB, ['-I', String(inodeSize)]);
  await withLoopMount(theirs, 'rw', (root) => {
    for (const name of ['one', 'two']) writeFileSync(join(root, name), '');
    mkdirSync(join(root, 'dir'));
  });
  copyFileSync(theirs, ours);

  const wanted: string[] = [];
  const wantedEnd = await withLoopMount(theirs, 'rw', (root) => {
    for (const { path, name, value, kind } of operations) {
      const at = join(root, path);
      if (kind === 'remove') wanted.push(kernelRemoveXattr(at, name));
      else wanted.push(kernelSetXattr(at, name, value, kind === 'set' ? undefined : kind));
    }
    return ['one', 'two', 'dir'].map((path) => [
      kernelXattrs(join(root, path)),
      statSync(join(root, path)).blocks,
    ]);
  });
  const mounted = { ...(await mountImage(ours)), image: ours };
  const { fs } = mounted;
  for (const [i, { path, name, value, kind }] of operations.entries()) {
    const inode = fs.lookup(path);
    const change =
      kind === 'remove'
        ? fs.removeXattr(inode, name)
        : fs.setXattr(inode, name, value, { only: kind === 'set' ? undefined : kind });
    t.equal(
      await outcome(change),
      wanted[i],
      `seed ${seed}, ${i}: ${kind} ${name} ${value.length}`,
    );
  }
  const end = ['one', 'two', 'dir'].map((path) => [
    ownXattrs(fs, path),
    fs.stat(fs.lookup(path)).blocks,
  ]);
  t.strictSame(end, wantedEnd, `seed ${seed}`);
  await finish(t, mounted);
  await withLoopMount(ours, 'rw', (root) => {
    t.strictSame(
      ['one', 'two', 'dir'].map((path) => kernelXattrs(join(root, path))),
      wantedEnd.map(([xattrs]) => xattrs),
      'the kernel reads what daxd wrote',
    );
  });
  t.match(fsck(ours), { status: 0 });
}

t.test('setXattr: many at once all get in; on a full filesystem nothing changes', async (t) => {
  if (!requires(t, JUDGES)) return;
  const mounted = await mountEmpty(t, ['-m', '0']);
  const { fs } = mounted;
  const file = await fs.create('file');
  const names = Array.from({ length: 40 }, (_, i) => `user.n${i}`);
  await Promise.all(names.map((name) => fs.setXattr(file, name, Buffer.from(name))));
  t.strictSame(fs.listXattrs(file).toSorted(), names.toSorted());
  const other = await fs.create('other');
  for (const name of ['big', 'rest']) {
    const inode = await fs.create(name);
    const { freeBytes } = fs.statfs();
    const length = name === 'big' ? freeBytes - 64 * 4096 : freeBytes;
    await fs.fallocate(inode, 0, length, { keepSize: false });
  }
  t.equal(fs.statfs().freeBytes, 0);
  await refuses(t, mounted, 'ENOSPC', () => fs.setXattr(other, 'user.large', Buffer.alloc(500)));
  await fs.setXattr(other, 'user.small', Buffer.alloc(50));
  t.strictSame(fs.listXattrs(other), ['user.small']);
  await finish(t, mounted);
});
