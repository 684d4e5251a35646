import t from 'tap';

import { MIB, PAGE_SIZE } from '../../../../src/lib/units.js';
import { debugfs, fsckMounted } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { crashCopy } from './orphan-set-up.js';
import { mountImage } from './set-up.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';
import {
  bytesOf,
  contentOf,
  mediaOf,
  ownersOf,
  pageAt,
  quarantineInode,
  withPages,
} from './quarantine-set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs'] };
const P = PAGE_SIZE;

t.test('release: zeroes the blocks, frees them, and they are used again', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withPages(t, 10, ['-m', '0']);
  const { fs, inode, pin, unpin, volume, image } = open;
  const at = pageAt(open, inode, 4);
  pin(at, 4 * P);
  await fs.truncate(inode, 0, { defer: true });
  const free = volume.free.blocks;
  await t.rejects(fs.quarantine.release(at, 4 * P), { code: 'EBUSY' });
  t.ok(mediaOf(open, at, 4 * P).equals(contentOf(8).subarray(4 * P)), 'pinned: left alone');
  unpin(at, 4 * P);

  await fs.quarantine.release(at + P, P);
  t.strictSame(fs.quarantine.extents(), [
    { mediaOffset: at, length: P },
    { mediaOffset: at + 2 * P, length: 2 * P },
  ]);
  t.equal(fs.quarantine.bytes, 3 * P);
  t.equal(volume.free.blocks, free + 1);
  t.ok(mediaOf(open, at + P).equals(Buffer.alloc(P)));
  t.match(fsckMounted(crashCopy(image)), { status: 0 });
  const owner = quarantineInode(image);
  t.strictSame(ownersOf(image, [at / P, at / P + 1]), [owner, 0]);

  await t.rejects(fs.quarantine.release(at, 4 * P), { code: 'ENOENT' }, 'not all of it');
  await t.rejects(fs.quarantine.release(at, 0), { code: 'EINVAL' });
  await t.rejects(fs.quarantine.release(at + 1, P), { code: 'EINVAL' });
  await Promise.all([fs.quarantine.release(at, P), fs.quarantine.release(at + 2 * P, 2 * P)]);
  t.strictSame(fs.quarantine.extents(), []);
  t.match(debugfs(image, `stat <${owner}>`), /Blockcount: 0/, 'the file stays, empty');

  // Unwritten blocks all over: what lies in the released ones shows that they are zeroed.
  const all = await fs.create('b');
  await fs.fallocate(all, 0, volume.free.blocks * P - 8 * P, { keepSize: false });
  const owners = ownersOf(image, [at / P, at / P + 3]);
  t.strictSame(owners, [all, all], 'used again');
  t.ok(mediaOf(open, at, 4 * P).equals(Buffer.alloc(4 * P)));
  await closeClean(t, open);
});

t.test('release: a power cut between zeroing and freeing leaves them quarantined', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, ...first } = await withPages(t, 4);
  const at = pageAt({ image, ...first }, first.inode, 1);
  first.pin(at, P);
  await first.fs.truncate(first.inode, 0, { defer: true });
  first.unpin(at, P);
  await first.close();
  let cuts = 0;
  const open = await openImage(image, {
    onPersist(offset, length) {
      // What is being persisted may be lost: look at the media as they were before it.
      if (offset !== at) return;
      t.equal(length, P);
      t.strictSame(open.fs.quarantine.extents(), [{ mediaOffset: at, length: P }]);
      t.ok(mediaOf(open, at).equals(Buffer.alloc(P)));
      cuts++;
    },
  });
  await open.fs.quarantine.release(at, P);
  t.equal(cuts, 1, 'zeroes are durable before anything else');
  t.strictSame(open.fs.quarantine.extents(), []);
  await open.close();
});

t.test('cap: room that is kept for a change is its alone', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withPages(t, 4, ['-m', '0']);
  const { fs, inode, pin, unpin } = open;
  const at = pageAt(open, inode, 0);
  pin(at, 4 * P);
  const forgetOther = fs.quarantine.reserve('another', fs.quarantine.capBytes - 2 * P);
  const full = { name: 'DaxdError', code: 'quarantine-full' };
  await t.rejects(fs.truncate(inode, P, { defer: true }), full);
  const keepsRoom = {
    defer: true,
    revoke: async ({ id }: { readonly id: string }) => {
      fs.quarantine.reserve(id, 2 * P);
    },
  };
  await fs.truncate(inode, 2 * P, keepsRoom);
  t.equal(fs.quarantine.bytes, 2 * P);
  t.equal(fs.quarantine.reservedBytes, fs.quarantine.capBytes - 2 * P, 'it took its own');
  await t.rejects(fs.truncate(inode, P, { defer: true }), full);
  forgetOther();
  t.equal(fs.quarantine.reservedBytes, 0);
  await fs.truncate(inode, P, { defer: true });
  unpin(at, 4 * P);
  await closeClean(t, open);
});

t.test('cap: a change that would exceed it fails whole', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await openImage(newImage(t, ['-m', '0'], 16 * MIB));
  const { fs, pin, unpin } = open;
  const cap = fs.quarantine.capBytes;
  t.equal(cap, Math.floor((16 * MIB) / 10 / P) * P);
  const content = Buffer.alloc(cap + 2 * P, 0x77);
  const inode = await fs.create('a');
  await fs.write(inode, 0, content);
  const extents = fs.extents(inode);
  for (const { mediaOffset, length } of extents) pin(mediaOffset, length);
  const before = JSON.stringify(fs.extents(inode));
  const full = { name: 'DaxdError', code: 'quarantine-full' };
  await t.rejects(fs.truncate(inode, P, { defer: true }), full);
  await t.rejects(fs.punchHole(inode, 0, cap + P, { defer: true }), full);
  await t.rejects(fs.punchHole(inode, 10, cap + 20, { defer: true }), full, 'edges count');
  t.equal(JSON.stringify(fs.extents(inode)), before);
  t.ok(bytesOf(open, inode).equals(content));
  t.equal(fs.quarantine.bytes, 0);
  t.equal(open.volume.reservations.count, 0);
  await fs.truncate(inode, 2 * P, { defer: true });
  t.equal(fs.quarantine.bytes, cap, 'up to the cap');
  await t.rejects(fs.truncate(inode, 10, { defer: true }), full);
  for (const { mediaOffset, length } of extents) unpin(mediaOffset, length);
  const [run] = fs.quarantine.extents();
  await fs.quarantine.release(run?.mediaOffset ?? 0, P);
  pin(pageAt(open, inode, 1), P);
  await fs.truncate(inode, P, { defer: true });
  await closeClean(t, open);

  const readOnly = await mountImage(open.image, { readOnly: true });
  t.equal(readOnly.fs.quarantine.bytes, cap);
  await t.rejects(readOnly.fs.quarantine.release(run?.mediaOffset ?? 0, P), { code: 'EROFS' });
  await readOnly.close();
});
