import {
  copyFileSync,
  linkSync,
  lstatSync,
  mkdirSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';

import koffi from 'koffi';
import t from 'tap';

import type { SpecialNode } from '../../../../src/fs/ext4/device-node.js';
import { modeOfNode } from '../../../../src/fs/ext4/device-node.js';
import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { DaxdError } from '../../../../src/lib/errno.js';
import { MIB } from '../../../../src/lib/units.js';
import {
  debugfs,
  debugfsWrite,
  fsck,
  kernelTree,
  makeImage,
  runJudge,
  withLoopMount,
} from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { mountImage } from './set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck', 'debugfs', 'mount', 'chattr'];
const RENAME_NOREPLACE = 1;
const AT_FDCWD = -100;
const LONG = 'n'.repeat(255);

const libc = koffi.load('libc.so.6');
const renameat2 = libc.func('int renameat2(int, str, int, str, unsigned int)');
const mknod = libc.func('int mknod(str, unsigned int, unsigned long)');

type Step =
  | readonly ['link' | 'rename' | 'noreplace' | 'symlink', string, string]
  | readonly ['unlink' | 'create' | 'mkdir', string]
  | readonly ['mknod', string, SpecialNode];

/** What both are given: a tree by the kernel, with flags. */
function makeTree(root: string): void {
  const at = (name: string): string => join(root, name);
  for (const name of ['d', 'd/sub', 'd/sub/deep', 'e', 'empty', 'fixed', 'growing']) {
    mkdirSync(at(name));
  }
  for (const name of ['f', 'g', 'd/f', 'd/sub/f', 'immutable', 'append', 'fixed/f', 'growing/f']) {
    writeFileSync(at(name), name);
  }
  symlinkSync('f', at('to-f'));
  symlinkSync('d', at('to-d'));
  symlinkSync('nowhere', at('dangling'));
  linkSync(at('g'), at('g2'));
  for (const [flag, name] of [
    ['+i', 'immutable'],
    ['+a', 'append'],
    ['+i', 'fixed'],
    ['+a', 'growing'],
  ] as const) {
    runJudge('chattr', [flag, at(name)]);
  }
}

/** One after the other, on the same tree: what is refused leaves it as it was. */
const STEPS: readonly Step[] = [
  // Names that cannot be given.
  ['link', 'f', 'f'],
  ['link', 'f', 'g'],
  ['link', 'none', 'x'],
  ['link', 'none', 'g'],
  ['link', 'f', 'none/x'],
  ['link', 'f', 'g/x'],
  ['link', 'd', 'x'],
  ['link', 'd', 'g'],
  ['link', 'immutable', 'x'],
  ['link', 'append', 'x'],
  ['link', 'f', 'fixed/x'],
  ['link', 'fixed/f', 'x'],
  ['link', 'f', `${LONG}n`],
  // Names that can.
  ['link', 'f', 'f2'],
  ['link', 'to-f', 'to-f2'],
  ['link', 'dangling', 'd/dangling'],
  ['link', 'f', 'to-d/f3'],
  ['link', 'f', LONG],
  ['link', 'f', 'growing/f2'],
  // Moves that cannot be.
  ['rename', 'none', 'x'],
  ['rename', 'none', 'g'],
  ['rename', 'f', 'none/x'],
  ['rename', 'f', 'g/x'],
  ['rename', 'f', 'd'],
  ['rename', 'd', 'f'],
  ['rename', 'e', 'd'],
  ['rename', 'd', 'd/sub/x'],
  ['rename', 'd', 'd/sub'],
  ['rename', 'd/sub', 'd'],
  ['rename', 'd/f', 'd'],
  ['rename', 'd/sub/deep', 'd'],
  ['rename', 'immutable', 'x'],
  ['rename', 'append', 'x'],
  ['rename', 'f', 'immutable'],
  ['rename', 'f', 'append'],
  ['rename', 'f', 'fixed/x'],
  ['rename', 'f', 'fixed/f'],
  ['rename', 'fixed/f', 'x'],
  ['rename', 'growing/f', 'x'],
  ['rename', 'f', 'growing/f'],
  ['rename', 'fixed', 'x'],
  ['noreplace', 'f', 'g'],
  ['noreplace', 'f', 'f2'],
  ['noreplace', 'f', 'f'],
  ['noreplace', 'f', 'd'],
  ['noreplace', 'd', 'd/sub'],
  ['noreplace', 'none', 'g'],
  ['noreplace', 'f', 'dangling'],
  // Moves that can.
  ['rename', 'f', 'f'],
  ['rename', 'f', 'f2'],
  ['rename', 'f2', 'to-f'],
  ['noreplace', 'f', 'd/moved'],
  ['rename', 'd/moved', 'f'],
  ['rename', 'g', 'g3'],
  ['rename', 'f', 'growing/new'],
  ['rename', 'growing/f2', 'f'],
  ['rename', 'e', 'empty'],
  ['rename', 'd/sub', 'empty/sub'],
  ['rename', 'empty/sub', 'sub'],
  ['rename', 'd', 'sub/deep'],
  ['rename', 'sub/deep', 'd'],
  ['rename', 'dangling', 'd/f'],
  // Removals.
  ['unlink', 'none'],
  ['unlink', 'd'],
  ['unlink', 'immutable'],
  ['unlink', 'append'],
  ['unlink', 'fixed'],
  ['unlink', 'fixed/f'],
  ['unlink', 'growing/f'],
  ['unlink', 'g2/x'],
  ['unlink', ''],
  ['unlink', 'empty'],
  ['unlink', 'to-d'],
  ['unlink', 'g2'],
  // Things made.
  ['create', 'g3'],
  ['create', 'fixed/x'],
  ['create', 'growing/x'],
  ['mkdir', 'g3'],
  ['mkdir', 'growing/y'],
  ['symlink', 'x', 'g3'],
  ['symlink', 'x', 'fixed/x'],
  ['mknod', 'g3', { type: 'fifo', mode: 0o644 }],
  ['mknod', 'none/x', { type: 'fifo', mode: 0o644 }],
  ['mknod', 'fixed/x', { type: 'socket', mode: 0o644 }],
  ['mknod', 'fifo', { type: 'fifo', mode: 0o640 }],
  ['mknod', 'socket', { type: 'socket', mode: 0o4711 }],
  ['mknod', 'null', { type: 'char', mode: 0o666, major: 1, minor: 3 }],
  ['mknod', 'old', { type: 'block', mode: 0o600, major: 255, minor: 255 }],
  ['mknod', 'wide', { type: 'block', mode: 0o600, major: 256, minor: 0 }],
  ['mknod', 'd/wider', { type: 'char', mode: 0o600, major: 4095, minor: 1048575 }],
  ['mknod', 'minor', { type: 'block', mode: 0o600, major: 8, minor: 256 }],
  ['mknod', 'zero', { type: 'char', mode: 0, major: 0, minor: 0 }],
  ['link', 'null', 'null2'],
  ['rename', 'wide', 'old'],
  ['unlink', 'minor'],
];
const NODES = ['null', 'null2', 'old', 'd/wider', 'zero', 'fifo', 'socket'];

function check(result: number): void {
  if (result === 0) return;
  const code = Object.entries(koffi.os.errno).find(([, value]) => value === koffi.errno())?.[0];
  throw Object.assign(new Error('a call failed'), { code });
}

/** Does a step by the kernel. */
function byKernel(root: string, step: Step): void {
  const at = (path: string): string => join(root, path);
  const [kind, path] = step;
  if (kind === 'link') linkSync(at(path), at(step[2]));
  else if (kind === 'symlink') symlinkSync(path, at(step[2]));
  else if (kind === 'rename') check(renameat2(AT_FDCWD, at(path), AT_FDCWD, at(step[2]), 0));
  else if (kind === 'noreplace') {
    check(renameat2(AT_FDCWD, at(path), AT_FDCWD, at(step[2]), RENAME_NOREPLACE));
  } else if (kind === 'mkdir') mkdirSync(at(path));
  else if (kind === 'create') writeFileSync(at(path), '', { flag: 'wx' });
  else if (kind === 'mknod') {
    const { major = 0, minor = 0 } = step[2];
    const device = (minor % 256) + major * 256 + Math.floor(minor / 256) * 2 ** 20;
    check(mknod(at(path), modeOfNode(step[2]), device));
  } else if (lstatSync(at(path)).isDirectory()) rmdirSync(at(path));
  else unlinkSync(at(path));
}

/** Does a step by daxd. */
async function byDaxd(fs: Ext4, step: Step): Promise<void> {
  const [kind, path] = step;
  if (kind === 'link') await fs.link(path, step[2]);
  else if (kind === 'symlink') await fs.symlink(step[2], path);
  else if (kind === 'rename') await fs.rename(path, step[2]);
  else if (kind === 'noreplace') await fs.rename(path, step[2], { noReplace: true });
  else if (kind === 'mknod') await fs.mknod(path, step[2]);
  else if (kind === 'mkdir') await fs.mkdir(path);
  else if (kind === 'create') await fs.create(path);
  else await fs.unlink(path);
}

async function outcomeOf(run: () => unknown): Promise<string> {
  try {
    await run();
    return 'done';
  } catch (error) {
    const isRefusal = error instanceof DaxdError || (error instanceof Error && 'code' in error);
    if (!isRefusal) throw error;
    return String((error as { code: unknown }).code);
  }
}

/** What the kernel shows of a tree, devices with their numbers. */
function shown(root: string): string[] {
  const nodes = NODES.map((name) => {
    const { mode, rdev, nlink } = lstatSync(join(root, name));
    return `${name} ${mode.toString(8)} ${rdev} ${nlink}`;
  });
  return [...kernelTree(root), ...nodes];
}

/** What debugfs says of a node's type and number. */
function nodeOf(image: string, name: string): string[] {
  return debugfs(image, `stat /${name}`).match(/Device major.*|Flags: 0x\w+|Mode: +\d+/g) ?? [];
}

t.test('names: every step ends as with the kernel, and so do the trees', async (t) => {
  if (!requires(t, { commands: COMMANDS, root: true })) return;
  const directory = scratchDirectory(t);
  const theirs = join(directory, 'theirs');
  const ours = join(directory, 'ours');
  makeImage(theirs, 32 * MIB);
  await withLoopMount(theirs, 'rw', makeTree);
  copyFileSync(theirs, ours);

  const answers: string[] = [];
  const expected = await withLoopMount(theirs, 'rw', async (root) => {
    process.umask(0);
    for (const step of STEPS) answers.push(await outcomeOf(() => byKernel(root, step)));
    return shown(root);
  });
  const mounted = await mountImage(ours);
  for (const [i, step] of STEPS.entries()) {
    t.equal(await outcomeOf(() => byDaxd(mounted.fs, step)), answers[i], inspect(step));
  }
  t.strictSame(mounted.fs.stat(mounted.fs.lookup('d/wider')).device, {
    major: 4095,
    minor: 1048575,
  });
  await mounted.close();
  t.match(fsck(ours), { status: 0 });
  t.strictSame(await withLoopMount(ours, 'ro', shown), expected);
  for (const name of NODES) {
    t.strictSame(nodeOf(ours, name), nodeOf(theirs, name), `${name} on the media`);
  }
});

t.test('link: 65000 names are the most', async (t) => {
  if (!requires(t, { commands: COMMANDS, root: true })) return;
  const directory = scratchDirectory(t);
  const theirs = join(directory, 'theirs');
  const ours = join(directory, 'ours');
  makeImage(theirs, 16 * MIB);
  await withLoopMount(theirs, 'rw', (root) => {
    writeFileSync(join(root, 'most'), '');
    writeFileSync(join(root, 'many'), '');
  });
  debugfsWrite(theirs, ['sif /most links_count 65000', 'sif /many links_count 64999']);
  copyFileSync(theirs, ours);
  const steps: readonly Step[] = [
    ['link', 'most', 'x'],
    ['link', 'many', 'y'],
    ['link', 'many', 'z'],
    ['unlink', 'y'],
    ['link', 'many', 'z'],
  ];
  const answers: string[] = [];
  await withLoopMount(theirs, 'rw', async (root) => {
    for (const step of steps) answers.push(await outcomeOf(() => byKernel(root, step)));
  });
  t.strictSame(answers, ['EMLINK', 'done', 'EMLINK', 'done', 'done']);
  const { fs, close } = await mountImage(ours);
  for (const [i, step] of steps.entries()) {
    t.equal(await outcomeOf(() => byDaxd(fs, step)), answers[i], inspect(step));
  }
  await close();
});

t.test('ext4.md 7.16: directories moved across parents keep the link counts right', async (t) => {
  if (!requires(t, { commands: COMMANDS, root: true })) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 16 * MIB);
  const { fs, close } = await mountImage(image);
  for (const path of ['a', 'a/b', 'a/b/c', 'x', 'x/y', 'target']) await fs.mkdir(path);
  const nlink = (path: string): number => fs.stat(fs.lookup(path)).nlink;
  const counts = (): number[] => ['', 'a', 'a/b', 'x'].map(nlink);
  const before = counts();
  await fs.rename('a/b/c', 'x/c');
  t.strictSame(counts(), [before[0], 3, 2, 4]);
  await fs.rename('x/c', 'a/b/c');
  t.strictSame(counts(), before);
  await fs.rename('a/b', 'target');
  t.strictSame([nlink(''), nlink('a'), nlink('target')], [before[0], 2, 3], 'one was replaced');
  await fs.rename('target/c', 'x/y');
  t.strictSame([nlink('target'), nlink('x')], [2, 3]);
  await close();
  t.match(fsck(image), { status: 0 });
  const tree = await withLoopMount(image, 'ro', kernelTree);
  t.match(tree, ['/a nlink=2', '/target nlink=2', '/x nlink=3', '/x/y nlink=2']);
});
