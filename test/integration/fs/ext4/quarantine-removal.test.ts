import t from 'tap';

import { MIB, PAGE_SIZE } from '../../../../src/lib/units.js';
import { debugfs, fsckMounted } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { crashCopy, ORPHAN_KINDS, until, untilFreed } from './orphan-set-up.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';
import {
  bytesOf,
  contentOf,
  mediaOf,
  ownersOf,
  pageAt,
  pageOf,
  quarantineInode,
  withPages,
} from './quarantine-set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs'] };
const P = PAGE_SIZE;
const gone = { name: 'DaxdError', code: 'ENOENT' };

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield await Promise.resolve(bytes);
}

const REMOVALS: Readonly<Record<string, (open: OpenImage) => Promise<unknown>>> = {
  unlink: ({ fs }) => fs.unlink('a', { defer: true }),
  rename: async ({ fs }) => {
    await fs.create('b');
    await fs.rename('b', 'a', { defer: true });
  },
};

for (const [op, remove] of Object.entries(REMOVALS)) {
  for (const { kind, args } of ORPHAN_KINDS) {
    t.test(
      `${op}, deferred: the inode goes at once, its pinned blocks stay, ${kind}`,
      async (t) => {
        if (!requires(t, JUDGES)) return;
        const open = await withPages(t, 8, args);
        const { fs, inode, layouts, pin, unpin, volume, image } = open;
        const at = pageAt(open, inode, 5);
        pin(at, 2 * P);
        const told: unknown[] = [];
        fs.quarantine.onMoved(async (move) => {
          told.push(await Promise.resolve(move));
        });
        const free = volume.free.blocks;
        await remove(open);
        t.equal(layouts.size, 0, 'nothing waits');
        t.throws(() => fs.stat(inode), gone);
        t.equal(volume.free.blocks, free + 6);
        const runs = [{ mediaOffset: at, length: 2 * P }];
        t.strictSame(fs.quarantine.extents(), runs);
        t.match(told, [{ op, inode, path: 'a', runs }]);
        t.ok(mediaOf(open, at).equals(pageOf(5)));
        const copy = crashCopy(image);
        t.match(fsckMounted(copy), { status: 0 });
        const owner = quarantineInode(copy);
        t.strictSame(ownersOf(copy, [at / P, at / P + 1]), [owner, owner]);
        unpin(at, 2 * P);
        await fs.quarantine.release(at, 2 * P);
        t.equal(volume.free.blocks, free + 8);
        await closeClean(t, open);
      },
    );
  }
}

t.test('unlink, deferred: one of two names, and a directory, quarantine nothing', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withPages(t, 2);
  const { fs, inode, pin, unpin } = open;
  pin(pageAt(open, inode, 0), P);
  await fs.link('a', 'b');
  await fs.unlink('a', { defer: true });
  t.equal(fs.quarantine.bytes, 0);
  t.ok(bytesOf(open, fs.lookup('b')).equals(contentOf(2)));
  await fs.mkdir('d');
  await fs.unlink('d', { defer: true });
  unpin(pageAt(open, inode, 0), P);
  await closeClean(t, open);
});

t.test('unlink, deferred: an open file is read to its end before', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withPages(t, 4);
  const { fs, inode, pin, unpin, image } = open;
  const at = pageAt(open, inode, 1);
  pin(at, P);
  const file = fs.open(inode);
  await fs.unlink('a', { defer: true });
  t.equal(fs.quarantine.bytes, 0);
  t.ok(bytesOf(open, inode).equals(contentOf(4)));
  await file.close();
  t.throws(() => fs.stat(inode), gone, 'then nobody is waited for');
  t.strictSame(fs.quarantine.extents(), [{ mediaOffset: at, length: P }]);
  t.match(debugfs(image, `stat <${inode}>`), /Links: 0/);
  unpin(at, P);
  await closeClean(t, open);
});

t.test('unlink, deferred: an open file at the unmount keeps its pinned blocks', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withPages(t, 4);
  const at = pageAt(open, open.inode, 1);
  open.pin(at, P);
  open.fs.open(open.inode);
  await open.fs.unlink('a', { defer: true });
  await closeClean(t, open);
  t.equal(ownersOf(open.image, [at / P])[0], quarantineInode(open.image));
});

t.test('unlink, deferred: a full quarantine refuses, and waits for what was open', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await openImage(newImage(t, ['-m', '0'], 16 * MIB));
  const { fs, pin, unpin, layouts } = open;
  const inode = await fs.create('a');
  await fs.write(inode, 0, Buffer.alloc(fs.quarantine.capBytes + P, 1));
  const extents = fs.extents(inode);
  for (const { mediaOffset, length } of extents) pin(mediaOffset, length);
  await t.rejects(fs.unlink('a', { defer: true }), { code: 'quarantine-full' });
  t.equal(fs.lookup('a'), inode, 'the name is there still');
  t.equal(layouts.size, 0);

  const file = fs.open(inode);
  await fs.unlink('a', { defer: true });
  await file.close();
  t.ok(await until(() => layouts.size === 1), 'it waits as without deferring');
  t.equal(fs.quarantine.bytes, 0);
  for (const { mediaOffset, length } of extents) unpin(mediaOffset, length);
  t.ok(await untilFreed(fs, inode));
  await closeClean(t, open);
});

t.test('replace, deferred: new content at once, pinned old blocks to the quarantine', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withPages(t, 6);
  const { fs, inode, pin, unpin, volume } = open;
  const at = pageAt(open, inode, 2);
  pin(at, P);
  const free = volume.free.blocks;
  const content = Buffer.alloc(P + 5, 0xee);
  t.match(await fs.replace('a', once(content), { defer: true }), { created: false, inode });
  t.ok(bytesOf(open, inode).equals(content));
  t.equal(volume.free.blocks, free + 5 - 2);
  t.strictSame(fs.quarantine.extents(), [{ mediaOffset: at, length: P }]);
  t.ok(mediaOf(open, at).equals(pageOf(2)));
  t.match(await fs.replace('c', once(content), { defer: true }), { created: true });
  unpin(at, P);
  await closeClean(t, open);
});
