import { once } from 'node:events';
import { readFileSync } from 'node:fs';

import t from 'tap';

import { changeLayout } from '../../../../src/fs/ext4/layout-break.js';
import { MIB, PAGE_SIZE } from '../../../../src/lib/units.js';
import { debugfs, fsck, withLoopMount } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { settle } from '../../../support/settle.js';
import {
  contentOf,
  crashCopy,
  KernelLog,
  mediaOf,
  ORPHAN_KINDS,
  PAGES,
  repair,
  until,
  untilFreed,
  withFiles,
} from './orphan-set-up.js';
import { mountImage, readAll } from './set-up.js';
import { closeClean, debugfsExtents, newImage, openImage, saveImage } from './volume-set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs'] };

const gone = { name: 'DaxdError', code: 'ENOENT' };

for (const { kind, args } of ORPHAN_KINDS) {
  for (const op of ['unlink', 'rename'] as const) {
    t.test(`ext4.md 7.25: ${op} of a file with a pinned page, ${kind}`, async (t) => {
      if (!requires(t, JUDGES)) return;
      const open = await withFiles(t, args);
      const { fs, a, layouts, pin, unpin, volume, image } = open;
      const page = mediaOf(open, a, 3);
      pin(page, PAGE_SIZE);
      const extents = fs.extents(a);
      const freeBefore = volume.free.blocks;

      await (op === 'unlink' ? fs.unlink('a') : fs.rename('b', 'a'));
      if (op === 'unlink') t.throws(() => fs.lookup('a'), gone);
      else t.not(fs.lookup('a'), a);
      t.match([...layouts.pending], [{ op, inode: a, path: 'a', state: 'breaking' }]);
      t.match(fs.stat(a), { nlink: 0, size: PAGES * PAGE_SIZE });
      t.strictSame(fs.extents(a), extents, 'extents are unchanged');
      const copy = crashCopy(image);
      const [extent] = debugfsExtents(copy, a);
      t.match(extent, { physical: (extents[0]?.mediaOffset ?? 0) / PAGE_SIZE, length: PAGES });
      const blocks = `testb ${extent?.physical} ${PAGES}`;
      t.notMatch(debugfs(copy, blocks), /not in use/);
      t.equal(volume.free.blocks, freeBefore);
      t.equal(await readAll(fs, a).then((bytes) => bytes.equals(contentOf('a'))), true);

      unpin(page, PAGE_SIZE);
      t.ok(await until(() => layouts.size === 0), 'the blocks go when the last page is idle');
      t.throws(() => fs.stat(a), gone);
      t.equal(volume.free.blocks, freeBefore + PAGES);
      const after = debugfs(crashCopy(image), blocks);
      t.equal(after.match(/not in use/g)?.length, PAGES);
      await closeClean(t, open);
    });
  }

  t.test(`ext4.md 7.23: a crash while a removed file is open, ${kind}`, async (t) => {
    if (!requires(t, { commands: [...JUDGES.commands, 'mount', 'dmesg'], root: true })) return;
    const open = await withFiles(t, args);
    const { fs, a, b, volume, image } = open;
    const freeBytes = fs.statfs().freeBytes;
    const file = fs.open(a);
    await fs.unlink('a');
    t.equal(fs.statfs().freeBytes, freeBytes);
    const copies = {
      e2fsck: crashCopy(image, 'e2fsck'),
      kernel: crashCopy(image, 'kernel'),
      own: crashCopy(image, 'own'),
    };

    const { first, second } = repair(copies.e2fsck);
    t.match(first.output, new RegExp(`Clearing orphaned inode ${a}`));
    t.equal(second.status, 0, second.output);

    const log = new KernelLog();
    const device = await withLoopMount(copies.kernel, 'rw', (directory) =>
      readFileSync('/proc/mounts', 'utf8')
        .split('\n')
        .map((line) => line.split(' '))
        .find(([, mountpoint]) => mountpoint === directory)?.[0]
        ?.replace('/dev/', ''),
    );
    t.match(log.fresh().join('\n'), `EXT4-fs (${device}): 1 orphan inode deleted`);
    t.equal(fsck(copies.kernel).status, 0);

    const own = await mountImage(copies.own);
    t.throws(() => own.fs.stat(a), gone);
    t.equal(own.fs.statfs().freeBytes, freeBytes + PAGES * PAGE_SIZE);
    t.ok((await readAll(own.fs, b)).equals(contentOf('b')));
    await own.close();
    t.match(fsck(copies.own), { status: 0 });

    await file.close();
    t.equal(volume.free.blocks * PAGE_SIZE, freeBytes + PAGES * PAGE_SIZE);
    await closeClean(t, open);
  });

  t.test(`unmount: pinned files stay on the ${kind}, open ones go`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const open = await withFiles(t, args);
    const { fs, a, b, layouts, pin, unpin, image, backing } = open;
    const freeBytes = fs.statfs().freeBytes;
    const page = mediaOf(open, a);
    pin(page, PAGE_SIZE);
    const file = fs.open(b);
    await fs.unlink('a');
    await fs.unlink('b');
    await fs.unmount();
    await file.close();
    t.equal(layouts.size, 0, 'no wait is left');
    unpin(page, PAGE_SIZE);
    await settle();
    await backing.close();

    t.match(debugfs(image, `stat <${b}>`), /Links: 0/);
    const copy = crashCopy(image);
    const { first, second } = repair(copy);
    t.match(first.output, new RegExp(`Clearing orphaned inode ${a}`));
    t.notMatch(first.output, `inode ${b}`);
    t.equal(second.status, 0, second.output);
    const next = await mountImage(image);
    t.equal(next.fs.statfs().freeBytes, freeBytes + 2 * PAGES * PAGE_SIZE);
    await next.close();
    t.match(fsck(image), { status: 0 });
  });
}

for (const op of ['truncate', 'punch-hole'] as const) {
  t.test(`ext4.md 7.25: ${op} waits for a pinned page, and frees nothing before`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const open = await withFiles(t);
    const { fs, a, layouts, pin, unpin, volume, image } = open;
    const page = mediaOf(open, a, 7);
    pin(page, PAGE_SIZE);
    const freeBefore = volume.free.blocks;
    const range = { from: 5 * PAGE_SIZE, length: 10 * PAGE_SIZE };
    const waiting =
      op === 'truncate' ? fs.truncate(a, range.from) : fs.punchHole(a, range.from, range.length);
    await settle();
    t.match([...layouts.pending], [{ op, inode: a, state: 'breaking' }]);
    const copy = crashCopy(image);
    const [extent] = debugfsExtents(copy, a);
    const first = (extent?.physical ?? 0) + 5;
    t.match(extent, { length: PAGES }, 'extents are unchanged');
    t.notMatch(debugfs(copy, `testb ${first} 10`), /not in use/);
    t.equal(volume.free.blocks, freeBefore);
    unpin(page, PAGE_SIZE);
    const { freedBytes } = await waiting;
    t.equal(freedBytes, (op === 'truncate' ? 15 : 10) * PAGE_SIZE);
    const after = debugfs(crashCopy(image), `testb ${first} 10`);
    t.equal(after.match(/not in use/g)?.length, 10);
    await closeClean(t, open);
  });
}

t.test('ext4.md 7.25: blocks of a removed file are taken once the commit is durable', async (t) => {
  if (!requires(t, JUDGES)) return;
  let hold: Promise<unknown> | undefined;
  const open = await openImage(newImage(t, ['-m', '0'], 16 * MIB), {
    async onPersist() {
      await hold;
    },
  });
  const { fs, volume } = open;
  const a = await fs.create('a');
  const b = await fs.create('b');
  const length = volume.free.blocks * PAGE_SIZE;
  await fs.fallocate(a, 0, length, { keepSize: false });
  await t.rejects(fs.write(b, 0, Buffer.from('x')), { name: 'DaxdError', code: 'ENOSPC' });

  const commit = new AbortController();
  hold = once(commit.signal, 'abort');
  const removed = fs.unlink('a');
  await settle();
  t.equal(volume.reservations.count, length / PAGE_SIZE, 'free, but not to be had');
  let isWritten = false;
  const written = fs.write(b, 0, Buffer.from('x')).then(() => (isWritten = true));
  await settle();
  t.notOk(isWritten, 'a write waits for blocks that come back');
  hold = undefined;
  commit.abort();
  await removed;
  await written;
  t.equal(volume.reservations.count, 0);
  await open.close();
  saveImage(open);
  t.match(fsck(open.image), { status: 0 });
});

t.test('unlink: an eviction is not cancelled, and follows earlier changes', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withFiles(t);
  const { fs, a, b, layouts, pin, unpin } = open;
  const page = mediaOf(open, a, 19);
  pin(page, PAGE_SIZE);
  const cut = fs.truncate(a, 10 * PAGE_SIZE);
  await fs.unlink('a');
  t.match([...layouts.pending], [{ op: 'truncate' }, { op: 'unlink', state: 'queued' }]);
  for (const change of [...layouts.pending].slice(1)) change.cancel();
  await settle();
  t.match([...layouts.pending], [{ op: 'truncate' }, { op: 'unlink', state: 'queued' }]);
  unpin(page, PAGE_SIZE);
  t.equal((await cut).freedBytes, 10 * PAGE_SIZE);
  t.ok(await untilFreed(fs, a));

  pin(mediaOf(open, b), PAGE_SIZE);
  const pinned = mediaOf(open, b);
  await fs.unlink('b');
  layouts.drain();
  await settle();
  t.equal(layouts.size, 0, 'a drain ends the wait');
  t.equal(fs.stat(b).nlink, 0, 'but not the file');
  unpin(pinned, PAGE_SIZE);
  await closeClean(t, open);
});

t.test('unlink: a file at work is evicted after it', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withFiles(t);
  const { fs, a, volume } = open;
  const hold = new AbortController();
  const busy = volume.withInode(a, () => once(hold.signal, 'abort'));
  await fs.unlink('a');
  t.equal(fs.stat(a).nlink, 0);
  hold.abort();
  await busy;
  t.ok(await untilFreed(fs, a));
  const change = { op: 'truncate', inode: a, from: 0, to: Infinity } as const;
  await changeLayout(volume, change, async () => {
    t.pass('the inode can be waited for when it is free');
  });
  await closeClean(t, open);
});

t.test('unlink: more blocks than one transaction frees go piece by piece', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = newImage(t, ['-g', '1024', '-N', '2048']);
  const open = await openImage(image);
  const { fs, volume } = open;
  const inode = await fs.create('large');
  const free = volume.free.blocks;
  await fs.fallocate(inode, 0, 48 * MIB, { keepSize: false });
  Object.defineProperty(volume, 'transactionBlocksMax', { value: 85 });
  const copies: string[] = [];
  const transact = volume.transact.bind(volume);
  let transactions = 0;
  volume.transact = async (body) => {
    transactions++;
    const result = await transact(body);
    if (transactions === 1) copies.push(crashCopy(image));
    return result;
  };
  await fs.unlink('large');
  t.ok(transactions > 2, `${transactions} transactions`);
  t.equal(volume.free.blocks, free, 'all is free when it settles');
  await closeClean(t, open);

  for (const copy of copies) {
    const next = await openImage(copy);
    t.equal(next.volume.free.blocks, free, 'a crash after the first: the next mount goes on');
    t.throws(() => next.fs.stat(inode), gone);
    await closeClean(t, next);
  }
});
