import { statSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { PAGE_SIZE } from '../../../../src/lib/units.js';
import { debugfs, fsck, fsckMounted, withLoopMount } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { crashCopy } from './orphan-set-up.js';
import { mountImage } from './set-up.js';
import { closeClean, debugfsExtents } from './volume-set-up.js';
import {
  bytesOf,
  contentOf,
  mediaOf,
  NAME,
  ownersOf,
  pageAt,
  pageOf,
  quarantineInode,
  withPages,
} from './quarantine-set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs'] };
const P = PAGE_SIZE;

t.test('truncate, deferred: pinned blocks move to the quarantine, others are freed', async (t) => {
  if (!requires(t, { commands: [...JUDGES.commands, 'mount', 'umount'], root: true })) return;
  const open = await withPages(t, 10);
  const { fs, inode, pin, unpin, volume, image } = open;
  const at = [3, 4, 7].map((page) => pageAt(open, inode, page));
  const [first = 0, , last = 0] = at;
  pin(first, 2 * P);
  pin(last, P);
  const free = volume.free.blocks;

  const result = await fs.truncate(inode, 2 * P, { defer: true });
  t.match(result, { waitedMs: 0, freedBytes: 5 * P, quarantinedBytes: 3 * P });
  t.equal(volume.free.blocks, free + 5);
  t.ok(bytesOf(open, inode).equals(contentOf(2)));
  t.strictSame(fs.quarantine.extents(), [
    { mediaOffset: first, length: 2 * P },
    { mediaOffset: last, length: P },
  ]);
  t.equal(fs.quarantine.bytes, 3 * P);
  for (const [i, page] of [3, 4, 7].entries()) {
    t.ok(mediaOf(open, at[i] ?? 0).equals(pageOf(page)), `page ${page} is its holder's still`);
  }

  t.match(fsckMounted(image), { status: 0 }, 'as the media are now');
  const owner = quarantineInode(image);
  const blocks = at.map((offset) => offset / P);
  t.strictSame(ownersOf(image, blocks), [owner, owner, owner]);
  t.strictSame(debugfsExtents(image, owner), [
    { logical: blocks[0], physical: blocks[0], length: 2, unwritten: true },
    { logical: blocks[2], physical: blocks[2], length: 1, unwritten: true },
  ]);
  t.match(
    debugfs(image, `stat <${owner}>`),
    /Mode: +0000[^]*Flags: 0x80010[^]*User: +0 [^]*Size: 0\n[^]*Links: 1 +Blockcount: 24/,
  );

  await fs.write(await fs.create('b'), 0, Buffer.alloc(40 * P, 0xbb));
  for (const [i, page] of [3, 4, 7].entries()) {
    t.ok(mediaOf(open, at[i] ?? 0).equals(pageOf(page)), 'no new file takes its block');
  }
  unpin(first, 2 * P);
  unpin(last, P);
  await closeClean(t, open);

  await withLoopMount(image, 'ro', (directory) => {
    t.match(statSync(join(directory, NAME)), { size: 0, blocks: 24, uid: 0, gid: 0, nlink: 1 });
    t.equal(statSync(join(directory, 'a')).size, 2 * P);
  });
  const again = await mountImage(image);
  t.equal(again.fs.quarantine.bytes, 3 * P, 'known after a mount');
  t.strictSame(
    again.fs.quarantine.extents().map(({ mediaOffset }) => mediaOffset),
    [first, last],
  );
  await again.close();
});

t.test(
  'truncate, deferred: the partly cut page is copied, its holder keeps the old one',
  async (t) => {
    if (!requires(t, JUDGES)) return;
    for (const size of [P + 100, 1, 4 * P - 1]) {
      const open = await withPages(t, 4);
      const { fs, inode, pin, unpin, image } = open;
      const page = Math.floor(size / P);
      const old = pageAt(open, inode, page);
      pin(old, P);
      const result = await fs.truncate(inode, size, { defer: true });
      t.match(result, { quarantinedBytes: P, freedBytes: (3 - page) * P });
      t.ok(bytesOf(open, inode).equals(contentOf(4).subarray(0, size)));
      t.ok(mediaOf(open, old).equals(pageOf(page)), 'its tail is not zeroed');
      t.not(pageAt(open, inode, page), old);
      t.strictSame(fs.quarantine.extents(), [{ mediaOffset: old, length: P }]);
      const tail = mediaOf(open, pageAt(open, inode, page)).subarray(size % P);
      t.ok(tail.equals(Buffer.alloc(tail.length)), 'the tail of the copy is zeros');
      t.match(fsckMounted(crashCopy(image)), { status: 0 });

      await fs.truncate(inode, 4 * P, { defer: true });
      const grown = Buffer.concat([contentOf(4).subarray(0, size)], 4 * P);
      t.ok(bytesOf(open, inode).equals(grown));
      unpin(old, P);
      await closeClean(t, open);
    }
  },
);

t.test('truncate, deferred: growing leaves what lies behind the end to its holder', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withPages(t, 2);
  const { fs, inode, pin, unpin, backing } = open;
  await fs.truncate(inode, P + 100);
  const old = pageAt(open, inode, 1);
  pin(old, P);
  backing.mapping.write(old + 100, Buffer.alloc(P - 100, 0xdd));
  t.match(await fs.truncate(inode, 3 * P, { defer: true }), { freedBytes: 0, quarantinedBytes: P });
  const grown = Buffer.concat([contentOf(2).subarray(0, P + 100)], 3 * P);
  t.ok(bytesOf(open, inode).equals(grown));
  t.ok(
    mediaOf(open, old)
      .subarray(100)
      .equals(Buffer.alloc(P - 100, 0xdd)),
  );
  unpin(old, P);
  await closeClean(t, open);
});

t.test('punchHole, deferred: whole pages, both edges, and an edge within one page', async (t) => {
  if (!requires(t, JUDGES)) return;
  for (const [from, to] of [
    [P + 10, 5 * P + 20],
    [2 * P + 10, 2 * P + 20],
    [2 * P, 4 * P],
    [0, 6 * P],
  ] as const) {
    const open = await withPages(t, 6);
    const { fs, inode, pin, unpin } = open;
    const pages = [1, 2, 4, 5];
    const at = pages.map((page) => pageAt(open, inode, page));
    for (const offset of at) pin(offset, P);
    await fs.punchHole(inode, from, to - from, { defer: true });
    t.ok(bytesOf(open, inode).equals(contentOf(6).fill(0, from, to)), `bytes ${from} to ${to}`);
    const touched = pages.filter((page) => page * P < to && (page + 1) * P > from);
    t.equal(fs.quarantine.bytes, touched.length * P);
    for (const [i, page] of pages.entries()) {
      t.ok(mediaOf(open, at[i] ?? 0).equals(pageOf(page)), `page ${page} is its holder's`);
      const isFiles = fs.extents(inode).some((extent) => {
        const { mediaOffset, length } = extent;
        return mediaOffset <= (at[i] ?? 0) && (at[i] ?? 0) < mediaOffset + length;
      });
      t.equal(isFiles, !touched.includes(page));
    }
    for (const offset of at) unpin(offset, P);
    await closeClean(t, open);
  }
});

t.test('defer: nothing pinned, nothing quarantined', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withPages(t, 6);
  const { fs, inode, image } = open;
  t.match(await fs.punchHole(inode, 10, 2 * P, { defer: true }), { quarantinedBytes: 0 });
  t.match(await fs.truncate(inode, 3 * P + 5, { defer: true }), { quarantinedBytes: 0 });
  t.strictSame(fs.quarantine.extents(), []);
  await closeClean(t, open);
  t.equal(quarantineInode(image), 0, 'the file is made when something goes there');
});

t.test('onMoved: told of what is durable, before the change settles', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withPages(t, 6);
  const { fs, inode, pin, unpin, image } = open;
  const at = pageAt(open, inode, 3);
  pin(at, P);
  const told: unknown[] = [];
  fs.quarantine.onMoved(async (move) => {
    t.strictSame(ownersOf(image, [at / P]), [quarantineInode(image)], 'it is on the media');
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    told.push(move);
  });
  await fs.truncate(inode, 0, { defer: true, path: 'a' });
  const runs = [{ mediaOffset: at, length: P }];
  t.match(told, [{ op: 'truncate', path: 'a', inode, runs }]);
  unpin(at, P);
  await closeClean(t, open);
  t.equal(fsck(image).status, 0);
});
