import { closeSync, openSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { readFile } from '../../../../src/fs/ext4/file-read.js';
import { readAnyInode, readInode } from '../../../../src/fs/ext4/inode.js';
import { SuperField } from '../../../../src/fs/ext4/layout.js';
import { openVolume } from '../../../../src/fs/ext4/mount-state.js';
import { OrphanFile } from '../../../../src/fs/ext4/orphan-file.js';
import { checkOrphans, recoverOrphans } from '../../../../src/fs/ext4/orphan-recovery.js';
import {
  addOrphan,
  holdsOrphans,
  orphanNumbers,
  removeOrphan,
} from '../../../../src/fs/ext4/orphans.js';
import { systemClock } from '../../../../src/lib/clock.js';
import { silentLogger } from '../../../../src/lib/logger.js';
import { MIB, PAGE_SIZE } from '../../../../src/lib/units.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { openBacking } from '../../../../src/media/open-backing.js';
import { pinUserPages } from '../../../../src/mm/gup.js';
import { debugfs, runJudge, withLoopMount } from '../../../support/ext4-image.js';
import { layoutsOf } from '../../../support/layouts.js';
import { requires } from '../../../support/requires.js';
import { mapPages } from '../../../unit/mm/set-up.js';
import { crashCopy, ORPHAN_KINDS, repair } from './orphan-set-up.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs'] };
const HEAD = 1024 + SuperField.LastOrphan;

/** A volume with some files of five blocks. */
async function withFiles(t: Test, args: readonly string[], count = 4) {
  const open = await openImage(newImage(t, args));
  const inodes: number[] = [];
  for (let i = 0; i < count; i++) {
    const inode = await open.fs.create(`file-${i}`);
    await open.fs.write(inode, 0, Buffer.alloc(5 * PAGE_SIZE, 0x11 * (i + 1)));
    inodes.push(inode);
  }
  const [a = 0, b = 0, c = 0, d = 0] = inodes;
  return { open, inodes, a, b, c, d };
}

function sorted(numbers: readonly number[]): number[] {
  return numbers.toSorted((a, b) => a - b);
}

async function change(
  { volume }: Pick<OpenImage, 'volume'>,
  number: number,
  how: typeof addOrphan | typeof removeOrphan,
): Promise<void> {
  await volume.transact((txn) => {
    const inode = readAnyInode(txn, volume, number);
    how(txn, volume, inode);
    inode.store(txn);
  });
}

for (const { kind, args } of ORPHAN_KINDS) {
  t.test(`addOrphan, removeOrphan: ${kind}, in any order, and twice`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const { open, inodes, a, b, c, d } = await withFiles(t, args);
    const { volume } = open;
    for (const inode of inodes) await change(open, inode, addOrphan);
    await change(open, a, addOrphan);
    await change(open, d, addOrphan);
    t.strictSame(sorted(orphanNumbers(volume, volume)), inodes, 'each once');
    const isFile = kind === 'orphan file';
    t.equal(holdsOrphans(volume, volume), isFile);
    t.equal(volume.block(0).readUInt32LE(HEAD), isFile ? 0 : d, 'the newest is first');

    // The middle, the last one (again), the first, and the only one.
    for (const [out, left] of [
      [b, [a, c, d]],
      [a, [c, d]],
      [a, [c, d]],
      [d, [c]],
      [c, []],
    ] as const) {
      await change(open, out, removeOrphan);
      t.strictSame(sorted(orphanNumbers(volume, volume)), left, `without ${out}`);
      t.equal(readInode(volume, volume, out).dtime, 0);
    }
    t.notOk(holdsOrphans(volume, volume));
    await closeClean(t, open);
  });

  t.test(`recoverOrphans: ${kind}, evicts without links, cuts with links`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const { open, a, b, c } = await withFiles(t, args);
    const { volume } = open;
    const freeBefore = volume.free.blocks;
    await volume.transact((txn) => {
      // Names are left to lead to it; e2fsck takes such a name away.
      const gone = readInode(txn, volume, a);
      gone.linksCount = 0;
      addOrphan(txn, volume, gone);
      gone.store(txn);
      const cut = readInode(txn, volume, b);
      cut.size = PAGE_SIZE + 100;
      addOrphan(txn, volume, cut);
      cut.store(txn);
    });
    const copy = crashCopy(open.image);
    const { first, second } = repair(copy);
    t.match(first.output, new RegExp(`Clearing orphaned inode ${a}`));
    t.match(first.output, new RegExp(`Truncating orphaned inode ${b}`));
    t.equal(second.status, 0, second.output);

    const orphans = checkOrphans(volume);
    t.equal(orphans.length, 2);
    await recoverOrphans(volume, orphans);
    t.strictSame(orphanNumbers(volume, volume), []);
    t.equal(volume.free.blocks - freeBefore, 5 + 3);
    t.throws(() => readInode(volume, volume, a), { name: 'DaxdError', code: 'ENOENT' });
    t.equal(readInode(volume, volume, b).blocks, 2);
    const tail = Buffer.alloc(10);
    await open.fs.truncate(b, 2 * PAGE_SIZE);
    readFile(volume, b, PAGE_SIZE + 95, tail);
    t.equal(tail.toString('hex'), '22222222220000000000', 'what was cut off does not come back');
    t.equal(readInode(volume, volume, c).blocks, 5, 'others are as they were');
    t.strictSame(checkOrphans(volume), [], 'again there is nothing to do');
    await open.fs.unmount();
    await open.backing.close();
    t.match(debugfs(open.image, `stat <${a}>`), /Links: 0/);
  });
}

for (const { kind, args } of ORPHAN_KINDS) {
  t.test(`ext4.md 7.23: what the kernel left on its ${kind}`, async (t) => {
    if (!requires(t, { commands: [...JUDGES.commands, 'mount', 'sync'], root: true })) return;
    const image = newImage(t, args, 16 * MIB);
    const copy = await withLoopMount(image, 'rw', (directory) => {
      const path = join(directory, 'removed');
      writeFileSync(path, Buffer.alloc(9 * PAGE_SIZE, 0x33));
      writeFileSync(join(directory, 'kept'), 'kept');
      const fd = openSync(path, 'r');
      try {
        unlinkSync(path);
        runJudge('sync', ['-f', directory]);
        return crashCopy(image);
      } finally {
        closeSync(fd);
      }
    });
    const own = await openImage(copy);
    t.strictSame(orphanNumbers(own.volume, own.volume), []);
    t.equal(own.fs.stat(own.fs.lookup('kept')).size, 4);
    await closeClean(t, own);
    t.equal(own.volume.free.blocks, freeBlocksOf(image), 'all that the kernel frees in the end');
  });
}

t.test('addOrphan: what recovery left on the list for a lease is not added again', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { open, a, b } = await withFiles(t, ['-O', '^orphan_file']);
  const { fs, pin } = open;
  const pages = [a, b].map((number) => (fs.extents(number)[0]?.mediaOffset ?? 0) / PAGE_SIZE);
  for (const page of pages) pin(page * PAGE_SIZE, PAGE_SIZE);
  await fs.unlink('file-0');
  await fs.unlink('file-1');
  await open.close();

  const backing = await openBacking(open.image, { readOnly: false, log: silentLogger });
  const { memremap, pgmap, waiters } = await mapPages({ pages: backing.sizeBytes / PAGE_SIZE });
  for (const page of pages) pinUserPages(memremap, page, 1);
  const next = await openVolume(new BackingRange(backing, 0, backing.sizeBytes), {
    readOnly: false,
    log: silentLogger,
    clock: systemClock,
    layouts: layoutsOf({ pgmap, waiters }),
  });
  const left = orphanNumbers(next, next);
  t.strictSame(sorted(left), sorted([a, b]));
  for (const number of left) await change({ volume: next }, number, addOrphan);
  t.strictSame(orphanNumbers(next, next), left, 'the list has an end still');
  await backing.close();
});

t.test('addOrphan: a full orphan file, and the rest on the list', async (t) => {
  if (!requires(t, JUDGES)) return;
  const args = ['-O', 'orphan_file', '-E', 'orphan_file_size=2'];
  const { open, a, b } = await withFiles(t, args);
  const { volume } = open;
  await volume.transact((txn) => {
    const file = OrphanFile.open(txn, volume);
    let added = 0;
    while (file?.add(txn, 1000 + added) === true) added++;
    t.equal(added, 2 * 1022);
  });
  await change(open, a, addOrphan);
  await change(open, b, addOrphan);
  t.equal(volume.block(0).readUInt32LE(HEAD), b, 'the list took them');
  await change(open, b, removeOrphan);
  await change(open, a, removeOrphan);
  t.equal(volume.block(0).readUInt32LE(HEAD), 0);
  await volume.transact((txn) => {
    const file = OrphanFile.open(txn, volume);
    for (const number of file?.numbers() ?? []) file?.remove(txn, number);
  });
  await closeClean(t, open);
});

t.test('checkOrphans: hostile lists are EUCLEAN, and nothing is changed', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { open, a, b, c } = await withFiles(t, ['-O', '^orphan_file', '-J', 'size=4']);
  const { volume } = open;
  const setHead = async (number: number, next = 0): Promise<void> => {
    await volume.transact((txn) => {
      txn.modify(0).writeUInt32LE(number, HEAD);
      for (const [inode, link] of [
        [a, b],
        [b, c],
        [c, next],
      ] as const) {
        const listed = readAnyInode(txn, volume, inode);
        listed.dtime = link;
        listed.store(txn);
      }
    });
  };
  const { inodesCount } = volume.superblock;
  for (const [title, head, next] of [
    ['a loop over three', a, a],
    ['an inode that is its own next', a, c],
    ['a number past the end', a, inodesCount + 1],
    ['the largest number', 0xffffffff, 0],
    ['the journal', 8, 0],
    ['the root', a, 2],
    ['an inode that is free', inodesCount, 0],
    ['a directory with links', volume.superblock.firstInode, 0],
  ] as const) {
    await setHead(head, next);
    const start = process.cpuUsage();
    t.throws(() => checkOrphans(volume), { name: 'DaxdError', code: 'EUCLEAN' }, title);
    t.ok(process.cpuUsage(start).user < 1_000_000, `${title}: at once`);
    t.equal(readInode(volume, volume, a).blocks, 5);
  }
  await setHead(0);
  for (const inode of [a, b, c]) {
    await volume.transact((txn) => {
      const listed = readAnyInode(txn, volume, inode);
      listed.dtime = 0;
      listed.store(txn);
    });
  }
  await closeClean(t, open);
});

t.test('OrphanFile: a damaged block is refused', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = newImage(t, ['-O', 'orphan_file'], 16 * MIB);
  const first = await openImage(image);
  const { volume } = first;
  const number = volume.superblock.bytes.readUInt32LE(SuperField.OrphanFileInode);
  const block = blockOf(first, number);
  await closeClean(t, first);
  for (const [title, offset, code] of [
    ['a slot', 40, 'EBADMSG'],
    ['the checksum', 4092, 'EBADMSG'],
    ['the magic', 4088, 'EUCLEAN'],
  ] as const) {
    const open = await openImage(image, { onPersist() {} });
    const place = block * PAGE_SIZE + offset;
    const byte = Buffer.alloc(1);
    open.backing.mapping.read(place, byte);
    open.backing.mapping.write(place, Buffer.from([(byte[0] ?? 0) ^ 1]));
    open.volume.cache.drop(block);
    t.throws(() => checkOrphans(open.volume), { name: 'DaxdError', code }, title);
    open.backing.mapping.write(place, byte);
    open.volume.cache.drop(block);
    await open.close();
  }
});

/** Free blocks as debugfs counts them. */
function freeBlocksOf(image: string): number {
  return Number(/Free blocks:\s+(\d+)/.exec(debugfs(image, 'show_super_stats -h'))?.[1]);
}

/** First block of an inode's data, by the tree of its root. */
function blockOf({ volume }: OpenImage, number: number): number {
  return readAnyInode(volume, volume, number).iBlock.readUInt32LE(20);
}
