/** An orphan that is itself damaged: the mount goes on, as the kernel's, and writes nothing. */
import { closeSync, copyFileSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { locateInode } from '../../../../src/fs/ext4/inode-place.js';
import { readAnyInode } from '../../../../src/fs/ext4/inode.js';
import { PAGE_SIZE } from '../../../../src/lib/units.js';
import { sha256Of, withLoopMount } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { contentOf, mediaOf, ORPHAN_KINDS, PAGES, repair, withFiles } from './orphan-set-up.js';
import { closeClean, openImage } from './volume-set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'mount', 'umount'], root: true };
/** Offset of an index entry's block in the root of a tree. */
const INDEX_BLOCK = 16;

interface LeftOrphan {
  readonly image: string;
  readonly orphan: number;
  /** Byte offset of its inode, and of the block of its extent tree. */
  readonly inodeAt: number;
  readonly treeAt: number;
}

/** Leaves `a` on the list of a filesystem that was unmounted while a page of it was pinned. */
async function leaveOrphan(t: Test, args: readonly string[]): Promise<LeftOrphan> {
  const open = await withFiles(t, args);
  const { fs, volume, a, image } = open;
  for (let page = 1; page < PAGES; page += 2) {
    await fs.punchHole(a, page * PAGE_SIZE, PAGE_SIZE);
  }
  const { blockNumber, offset } = locateInode(volume, a);
  const tree = readAnyInode(volume, volume, a).iBlock.readUInt32LE(INDEX_BLOCK);
  const page = mediaOf(open, a);
  open.pin(page, PAGE_SIZE);
  await fs.unlink('a');
  await open.close();
  return {
    image,
    orphan: a,
    inodeAt: blockNumber * PAGE_SIZE + offset,
    treeAt: tree * PAGE_SIZE,
  };
}

function flip(image: string, at: number): void {
  const fd = openSync(image, 'r+');
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, at);
  writeSync(fd, Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at);
  closeSync(fd);
}

/** What daxd reads, on a filesystem that it refuses to change. */
async function readsOn(t: Test, image: string, reason: RegExp): Promise<void> {
  const { volume, fs, close } = await openImage(image);
  t.match(volume.readOnlyReasons.join(), reason);
  const content = Buffer.alloc(PAGES * PAGE_SIZE);
  fs.read(fs.lookup('b'), 0, content);
  t.ok(content.equals(contentOf('b')), 'the other file reads');
  await t.rejects(fs.create('c'), { name: 'DaxdError', code: 'EROFS', message: reason });
  await close();
}

for (const { kind, args } of ORPHAN_KINDS) {
  t.test(`openVolume: an orphan whose inode is damaged, ${kind}`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const { image, orphan, inodeAt } = await leaveOrphan(t, args);
    flip(image, inodeAt + 4);
    const before = sha256Of(image);
    await readsOn(t, image, new RegExp(`checksum mismatch: inode ${orphan}; `));
    t.equal(sha256Of(image), before, 'not a byte changed');
    // e2fsck 1.47.0 gives up over it: it reads the orphans before it repairs inodes.
    await kernelGoesOn(t, image);
  });

  t.test(`openVolume: an orphan whose extent tree is damaged, ${kind}`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const { image, orphan, treeAt } = await leaveOrphan(t, args);
    flip(image, treeAt + 100);
    const reason = new RegExp(`orphan inode ${orphan}: .*extent`);
    await readsOn(t, image, reason);
    await readsOn(t, image, reason);
    await kernelGoesOn(t, image);
    await isRepaired(t, image);
  });
}

async function kernelGoesOn(t: Test, image: string): Promise<void> {
  const copy = `${image}.kernel`;
  copyFileSync(image, copy);
  await withLoopMount(copy, 'rw', (directory) => {
    t.ok(readFileSync(join(directory, 'b')).equals(contentOf('b')), 'the kernel mounts it too');
  });
}

async function isRepaired(t: Test, image: string): Promise<void> {
  t.equal(repair(image).second.status, 0, 'e2fsck -fy puts it in order');
  const open = await openImage(image);
  t.strictSame(open.volume.readOnlyReasons, []);
  await open.fs.create('c');
  await closeClean(t, open);
}
