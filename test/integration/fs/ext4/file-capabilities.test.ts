import {
  chmodSync,
  closeSync,
  copyFileSync,
  fchmodSync,
  ftruncateSync,
  lstatSync,
  openSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { KIB, MIB } from '../../../../src/lib/units.js';
import { fallocate, FallocateMode } from '../../../support/differential/kernel-calls.js';
import { makeImage, withLoopMount } from '../../../support/ext4-image.js';
import { kernelSetXattr, kernelXattrs } from '../../../support/kernel-xattrs.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { ownXattrs } from './own-xattrs.js';
import { finish, mountEmpty, mountImage } from './set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'mount'], root: true };
const BLOCK = 4 * KIB;
const SIZE = 16 * BLOCK;
const CAPABILITY = 'security.capability';
/** cap_net_raw+ep, revision 2 (linux/capability.h). */
const NET_RAW = Buffer.from('0100000200200000000000000000000000000000', 'hex');
const SET_ID_MODE = 0o6755;

/** One change of a file, by the kernel on an open file and by daxd. */
interface Step {
  readonly name: string;
  readonly kernel: (fd: number) => unknown;
  readonly daxd: (fs: Ext4, inode: number) => Promise<unknown>;
}

const { KeepSize, PunchHole, ZeroRange, CollapseRange, InsertRange } = FallocateMode;

const STEPS: readonly Step[] = [
  {
    name: 'write',
    kernel: (fd) => writeSync(fd, 'new', 10),
    daxd: (fs, inode) => fs.write(inode, 10, Buffer.from('new')),
  },
  {
    name: 'write-nothing',
    kernel: (fd) => writeSync(fd, '', 10),
    daxd: (fs, inode) => fs.write(inode, 10, Buffer.alloc(0)),
  },
  {
    name: 'append',
    kernel: (fd) => writeSync(fd, 'new', SIZE),
    daxd: (fs, inode) => fs.append(inode, Buffer.from('new')),
  },
  ...[0, 100, SIZE, SIZE + 5].map(truncateTo),
  inRange('fallocate', 0, { mode: 0, daxd: fallocateBy }),
  inRange('fallocate-behind', 20, { mode: 0, daxd: fallocateBy }),
  inRange('punch', 1, { mode: PunchHole | KeepSize, daxd: (fs, ...at) => fs.punchHole(...at) }),
  inRange('punch-behind', 20, {
    mode: PunchHole | KeepSize,
    daxd: (fs, ...at) => fs.punchHole(...at),
  }),
  inRange('zero', 1, {
    mode: ZeroRange,
    daxd: (fs, ...at) => fs.zeroRange(...at, { keepSize: false }),
  }),
  inRange('collapse', 1, {
    mode: CollapseRange,
    daxd: (fs, ...at) => fs.collapseRange(...at),
  }),
  inRange('insert', 1, { mode: InsertRange, daxd: (fs, ...at) => fs.insertRange(...at) }),
  {
    name: 'replace',
    kernel: (fd) => {
      ftruncateSync(fd, 0);
      writeSync(fd, 'all new', 0);
    },
    daxd: (fs) => fs.replace('replace', newContent()),
  },
  {
    name: 'chmod',
    kernel: (fd) => {
      fchmodSync(fd, SET_ID_MODE);
    },
    daxd: (fs, inode) => fs.setAttributes(inode, { mode: SET_ID_MODE }),
  },
];

function truncateTo(size: number): Step {
  return {
    name: `truncate-to-${size}`,
    kernel: (fd) => {
      ftruncateSync(fd, size);
    },
    daxd: (fs, inode) => fs.truncate(inode, size),
  };
}

/** A change of two blocks of a file. */
function inRange(
  name: string,
  block: number,
  how: {
    readonly mode: number;
    readonly daxd: (fs: Ext4, ...at: [number, number, number]) => Promise<unknown>;
  },
): Step {
  return {
    name,
    kernel: (fd) => {
      fallocate(fd, how.mode, block * BLOCK, 2 * BLOCK);
    },
    daxd: (fs, inode) => how.daxd(fs, inode, block * BLOCK, 2 * BLOCK),
  };
}

async function fallocateBy(fs: Ext4, ...at: [number, number, number]): Promise<unknown> {
  return await fs.fallocate(...at, { keepSize: false });
}

async function* newContent(): AsyncGenerator<Buffer> {
  yield await Promise.resolve(Buffer.from('all new'));
}

function makeFiles(root: string): void {
  for (const { name } of STEPS) {
    const path = join(root, name);
    writeFileSync(path, Buffer.alloc(SIZE, 'x'));
    chmodSync(path, SET_ID_MODE);
    kernelSetXattr(path, 'user.kept', Buffer.from('value'));
    kernelSetXattr(path, CAPABILITY, NET_RAW);
  }
}

/** Mode and attributes of each file. */
function seenByKernel(root: string): unknown[] {
  return STEPS.map(({ name }) => {
    const path = join(root, name);
    return [name, lstatSync(path).mode, kernelXattrs(path)];
  });
}

// With inodes of 128 bytes attributes are in a block, which the kernel gives to many files.
for (const inodeSize of [128, 256]) {
  t.test(`capabilities go with the content, inodes of ${inodeSize} bytes`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const directory = scratchDirectory(t);
    const theirs = join(directory, 'theirs');
    const ours = join(directory, 'ours');
    makeImage(theirs, 32 * MIB, ['-I', String(inodeSize)]);
    await withLoopMount(theirs, 'rw', makeFiles);
    copyFileSync(theirs, ours);
    const wanted = await withLoopMount(theirs, 'rw', (root) => {
      for (const { name, kernel } of STEPS) {
        const fd = openSync(join(root, name), 'r+');
        kernel(fd);
        closeSync(fd);
      }
      return seenByKernel(root);
    });

    const mounted = { ...(await mountImage(ours)), image: ours };
    const { fs } = mounted;
    for (const { name, daxd } of STEPS) await daxd(fs, fs.lookup(name));
    const own = STEPS.map(({ name }) => [name, fs.stat(fs.lookup(name)).mode, ownXattrs(fs, name)]);
    await finish(t, mounted);
    t.strictSame(own, wanted);
    const kept = wanted.filter((seen) => JSON.stringify(seen).includes(CAPABILITY));
    t.equal(kept.length, 2, 'a write of nothing and a chmod leave it');
    t.strictSame(
      await withLoopMount(ours, 'ro', seenByKernel),
      wanted,
      'the kernel reads the same',
    );
  });
}

t.test('a lease for writing takes the capabilities: what it stores is not seen', async (t) => {
  if (!requires(t, { commands: JUDGES.commands })) return;
  const mounted = await mountEmpty(t);
  const { fs } = mounted;
  const file = await fs.create('file');
  await fs.write(file, 0, Buffer.alloc(BLOCK, 'x'));
  await fs.setXattr(file, CAPABILITY, NET_RAW);
  await fs.prepareDma(file, 0, BLOCK, 'read');
  t.strictSame(fs.listXattrs(file), [CAPABILITY]);
  await fs.prepareDma(file, 0, BLOCK, 'write');
  t.strictSame(fs.listXattrs(file), []);
  await finish(t, mounted);
});
