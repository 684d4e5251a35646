import t from 'tap';

import { PAGE_SIZE } from '../../../../src/lib/units.js';
import { requires } from '../../../support/requires.js';
import { closeClean } from './volume-set-up.js';
import { bytesOf, contentOf, mediaOf, pageAt, pageOf, withPages } from './quarantine-set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs'] };
const P = PAGE_SIZE;

t.test('zeroRange, deferred: pinned pages are replaced, edges copied', async (t) => {
  if (!requires(t, JUDGES)) return;
  for (const [from, to] of [
    [P + 10, 5 * P + 20],
    [2 * P + 10, 2 * P + 20],
    [0, 9 * P],
  ] as const) {
    const open = await withPages(t, 6);
    const { fs, inode, pin, unpin } = open;
    const pages = [1, 2, 3, 5];
    const at = pages.map((page) => pageAt(open, inode, page));
    for (const offset of at) pin(offset, P);
    await fs.punchHole(inode, 4 * P, P);
    const content = Buffer.concat([contentOf(6)], Math.max(to, 6 * P));
    content.fill(0, 4 * P, 5 * P).fill(0, from, to);
    const touched = pages.filter((page) => page * P < to && (page + 1) * P > from);
    const result = await fs.zeroRange(inode, from, to - from, { keepSize: false, defer: true });
    t.match(result, { freedBytes: 0, quarantinedBytes: touched.length * P });
    t.ok(bytesOf(open, inode).equals(content), `bytes ${from} to ${to}`);
    for (const [i, page] of pages.entries()) {
      t.ok(mediaOf(open, at[i] ?? 0).equals(pageOf(page)), `page ${page} is its holder's`);
    }
    t.equal(fs.quarantine.bytes, touched.length * P);
    const extents = fs.extents(inode, from, to);
    const blocks = extents.reduce((total, { length }) => total + length, 0) / P;
    t.equal(blocks, Math.ceil(to / P) - Math.floor(from / P), 'all of it has blocks');
    // A later write does not reach the holder either.
    await fs.write(inode, from, Buffer.alloc(to - from, 0xff));
    t.ok(touched.every((page) => mediaOf(open, at[pages.indexOf(page)] ?? 0).equals(pageOf(page))));
    for (const offset of at) unpin(offset, P);
    await closeClean(t, open);
  }
});

t.test('zeroRange, deferred: without space nothing changes', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withPages(t, 6, ['-m', '0']);
  const { fs, inode, pin, unpin, volume } = open;
  const at = pageAt(open, inode, 1);
  pin(at, P);
  const rest = await fs.create('rest');
  await fs.fallocate(rest, 0, (volume.free.blocks - 3) * P, { keepSize: false });
  const zero = fs.zeroRange(inode, 0, 30 * P, { keepSize: false, defer: true });
  await t.rejects(zero, { code: 'ENOSPC' });
  t.ok(bytesOf(open, inode).equals(contentOf(6)));
  t.equal(fs.quarantine.bytes, 0);
  t.equal(volume.reservations.count, 0);
  unpin(at, P);
  await closeClean(t, open);
});

t.test('collapse and insert, deferred: copies move, the holders keep the old blocks', async (t) => {
  if (!requires(t, JUDGES)) return;
  for (const op of ['collapse', 'insert'] as const) {
    const open = await withPages(t, 8);
    const { fs, inode, pin, unpin } = open;
    const pages = [0, 2, 3, 6, 7];
    const at = pages.map((page) => pageAt(open, inode, page));
    for (const offset of at) pin(offset, P);
    const content = contentOf(8);
    const [head, tail] = [content.subarray(0, 2 * P), content.subarray(2 * P)];
    if (op === 'collapse') {
      const result = await fs.collapseRange(inode, 2 * P, 3 * P, { defer: true });
      t.match(result, { freedBytes: P, quarantinedBytes: 4 * P });
      t.ok(bytesOf(open, inode).equals(Buffer.concat([head, tail.subarray(3 * P)])));
    } else {
      const result = await fs.insertRange(inode, 2 * P, 3 * P, { defer: true });
      t.match(result, { freedBytes: 0, quarantinedBytes: 4 * P });
      t.ok(bytesOf(open, inode).equals(Buffer.concat([head, Buffer.alloc(3 * P), tail])));
    }
    t.equal(pageAt(open, inode, 0), at[0], 'what lies before the range stays');
    await fs.write(inode, 2 * P, Buffer.alloc(fs.stat(inode).size - 2 * P, 0xff));
    for (const [i, page] of pages.entries()) {
      t.ok(mediaOf(open, at[i] ?? 0).equals(pageOf(page)), `page ${page} is its holder's`);
    }
    for (const offset of at) unpin(offset, P);
    await closeClean(t, open);
  }
});
