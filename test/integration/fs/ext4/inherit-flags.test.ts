import { chmodSync, chownSync, copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { MIB } from '../../../../src/lib/units.js';
import {
  debugfs,
  debugfsWrite,
  makeImage,
  runJudge,
  withLoopMount,
} from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { finish, mountImage } from './set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs', 'mount', 'mkfifo'], root: true };
/** Flags of a directory, in hex, as the media have them; `80000` says that it has extents. */
const DIRECTORIES = [
  '80000', // none
  '800c8', // sync, nodump, noatime
  '20900c8', // and dirsync, dax
  '80407', // secure removal, undelete, compressed, not compressed
  '88000', // notail
  '20080000', // projects are inherited
  'a0000', // topdir, which is not inherited
  '800a0', // append-only and noatime
];
const JOURNAL_DATA = '84000';
const CHILDREN = ['file', 'dir', 'link', 'long', 'fifo'];
const LONG_TARGET = 'x'.repeat(200);

function flagsOf(image: string, path: string): string {
  return /Flags: (0x[\da-f]+)/.exec(debugfs(image, `stat ${path}`))?.[1] ?? 'none';
}

function allFlags(image: string): string[] {
  return DIRECTORIES.flatMap((directory) =>
    CHILDREN.map((child) => `${directory}/${child}: ${flagsOf(image, `/${directory}/${child}`)}`),
  );
}

t.test('new inodes inherit the flags of their directory, as by the kernel', async (t) => {
  if (!requires(t, JUDGES)) return;
  const scratch = scratchDirectory(t);
  const theirs = join(scratch, 'theirs');
  const ours = join(scratch, 'ours');
  makeImage(theirs, 32 * MIB);
  await withLoopMount(theirs, 'rw', (root) => {
    for (const directory of [...DIRECTORIES, JOURNAL_DATA]) mkdirSync(join(root, directory));
  });
  const set = [...DIRECTORIES, JOURNAL_DATA].map((flags) => `sif ${flags} flags 0x${flags}`);
  debugfsWrite(theirs, set);
  copyFileSync(theirs, ours);
  await withLoopMount(theirs, 'rw', (root) => {
    for (const directory of DIRECTORIES) makeByKernel(t, join(root, directory));
  });

  const mounted = { ...(await mountImage(ours)), image: ours };
  const { fs } = mounted;
  for (const directory of DIRECTORIES) await makeByDaxd(fs, directory);
  await fs.create(`${JOURNAL_DATA}/file`);
  await finish(t, mounted);
  t.strictSame(allFlags(ours), allFlags(theirs));
  t.equal(flagsOf(ours, `/${JOURNAL_DATA}/file`), '0x80000', 'its data is not journaled');
});

/** Group and mode of everything under two directories, of which the second has its set-group bit. */
function allGroups(image: string): string[] {
  return ['plain', 'setgid'].flatMap((directory) =>
    CHILDREN.map((child) => {
      const stat = debugfs(image, `stat /${directory}/${child}`);
      const [, mode, group] = /Mode:\s+(\d+)[\s\S]*Group:\s+(\d+)/.exec(stat) ?? [];
      return `${directory}/${child}: ${mode} ${group}`;
    }),
  );
}

for (const options of ['bsdgroups', '^bsdgroups']) {
  t.test(`new inodes have the group that the kernel gives them, ${options}`, async (t) => {
    if (!requires(t, { ...JUDGES, commands: [...JUDGES.commands, 'tune2fs'] })) return;
    const theirs = join(scratchDirectory(t), 'theirs');
    const ours = `${theirs}.ours`;
    makeImage(theirs, 32 * MIB);
    runJudge('tune2fs', ['-o', options, theirs]);
    await withLoopMount(theirs, 'rw', (root) => {
      for (const [directory, mode] of [
        ['plain', 0o755],
        ['setgid', 0o2755],
      ] as const) {
        mkdirSync(join(root, directory));
        chownSync(join(root, directory), 0, 1234);
        chmodSync(join(root, directory), mode);
      }
    });
    copyFileSync(theirs, ours);
    await withLoopMount(theirs, 'rw', (root) => {
      for (const directory of ['plain', 'setgid']) makeByKernel(t, join(root, directory));
    });
    const mounted = { ...(await mountImage(ours)), image: ours };
    for (const directory of ['plain', 'setgid']) await makeByDaxd(mounted.fs, directory);
    await finish(t, mounted);
    t.strictSame(allGroups(ours), allGroups(theirs));
  });
}

/** Makes one of each kind in a directory. */
function makeByKernel(t: Test, directory: string): void {
  const at = (name: string): string => join(directory, name);
  writeFileSync(at('file'), '');
  mkdirSync(at('dir'));
  symlinkSync('target', at('link'));
  symlinkSync(LONG_TARGET, at('long'));
  t.match(runJudge('mkfifo', [at('fifo')]), { status: 0 });
}

/** The same. */
async function makeByDaxd(fs: Ext4, directory: string): Promise<void> {
  await fs.create(`${directory}/file`);
  await fs.mkdir(`${directory}/dir`);
  await fs.symlink(`${directory}/link`, 'target');
  await fs.symlink(`${directory}/long`, LONG_TARGET);
  await fs.mknod(`${directory}/fifo`, { type: 'fifo', mode: 0o644 });
}
