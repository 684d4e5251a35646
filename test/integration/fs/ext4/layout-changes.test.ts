import { setImmediate } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { mapExtents, treeOf } from '../../../../src/fs/ext4/extent-tree.js';
import type { Extent } from '../../../../src/fs/ext4/extent.js';
import { fileExtents, readFile } from '../../../../src/fs/ext4/file-read.js';
import { fallocate, punchHole, zeroRange } from '../../../../src/fs/ext4/file-space.js';
import { truncateFile } from '../../../../src/fs/ext4/file-truncate.js';
import { writeFile } from '../../../../src/fs/ext4/file-write.js';
import { readInode } from '../../../../src/fs/ext4/inode.js';
import type { ChangeResult } from '../../../../src/fs/ext4/layout-break.js';
import { replaceData } from '../../../../src/fs/ext4/replace-data.js';
import { stageContent } from '../../../../src/fs/ext4/staged-content.js';
import { MIB } from '../../../../src/lib/units.js';
import { requires } from '../../../support/requires.js';
import { settle } from '../../../support/settle.js';
import { closeClean, newImage, openImage, saveImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck', 'debugfs'];
const PAGE = 4096;

function extentsOf({ volume }: OpenImage, inode: number): Extent[] {
  return mapExtents(treeOf(volume, volume, readInode(volume, volume, inode)));
}

function sizeOf({ volume }: OpenImage, inode: number): number {
  return readInode(volume, volume, inode).size;
}

/** An open image with a file of `pages` pages of 0x11. */
async function withFile(t: Test, pages: number): Promise<OpenImage & { inode: number }> {
  const open = await openImage(newImage(t));
  const inode = await open.fs.create('a');
  await writeFile(open.volume, inode, 0, Buffer.alloc(pages * PAGE, 0x11));
  return { ...open, inode };
}

/** Where a byte of the file lies on the partition. */
function mediaOf({ volume }: OpenImage, inode: number, offset: number): number {
  const [extent] = fileExtents(volume, readInode(volume, volume, inode), offset, offset + 1);
  if (extent === undefined) throw new Error(`no block at ${offset}`);
  return extent.mediaOffset;
}

async function* once(content: Buffer): AsyncGenerator<Buffer> {
  await setImmediate();
  yield content;
}

/** Runs a change while one page is pinned and tells whether it had to wait for it. */
async function waitsFor(
  open: OpenImage & { inode: number },
  page: number,
  change: (signal: AbortSignal) => Promise<unknown>,
): Promise<boolean> {
  const media = mediaOf(open, open.inode, page * PAGE);
  const before = { extents: extentsOf(open, open.inode), size: sizeOf(open, open.inode) };
  open.pin(media, PAGE);
  const abort = new AbortController();
  let isDone = false;
  const running = change(abort.signal).then(
    () => (isDone = true),
    () => 'cancelled',
  );
  await settle(20);
  const waited = !isDone && open.layouts.size > 0;
  if (waited) {
    const now = { extents: extentsOf(open, open.inode), size: sizeOf(open, open.inode) };
    if (JSON.stringify(now) !== JSON.stringify(before)) throw new Error('changed while it waits');
    abort.abort();
  }
  await running;
  open.unpin(media, PAGE);
  return waited;
}

t.test('truncateFile: waits for the last pinned page, then frees', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await withFile(t, 4);
  const { volume, inode } = open;
  const free = volume.free.blocks;
  const before = extentsOf(open, inode);
  const first = mediaOf(open, inode, 0);
  open.pin(first, 2 * PAGE);
  let result: ChangeResult | undefined;
  const running = truncateFile(volume, inode, 0).then((done) => (result = done));
  await settle(20);
  t.equal(result, undefined);
  t.strictSame(extentsOf(open, inode), before);
  t.equal(open.layouts.size, 1, 'the barrier is up');
  open.unpin(first, PAGE);
  await settle(20);
  t.equal(result, undefined, 'one page is pinned still');
  open.unpin(first + PAGE, PAGE);
  await running;
  t.match(result, { freedBytes: 4 * PAGE });
  t.equal(volume.free.blocks, free + 4);
  t.equal(sizeOf(open, inode), 0);
  t.equal(open.layouts.size, 0, 'the barrier is down');
  await closeClean(t, open);
});

t.test('layout changes: each waits for the pages of its range, and for no other', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await withFile(t, 8);
  const { volume, inode } = open;
  await truncateFile(volume, inode, 7 * PAGE + 100);
  const waits = (page: number, change: (signal: AbortSignal) => Promise<unknown>) =>
    waitsFor(open, page, change);

  const grow = (signal: AbortSignal) => truncateFile(volume, inode, 7 * PAGE + 200, { signal });
  t.equal(await waits(7, grow), true, 'growth waits for the last page');
  t.equal(await waits(6, grow), false, 'and for no page before it');
  const cut = (signal: AbortSignal) => truncateFile(volume, inode, 6 * PAGE + 1, { signal });
  t.equal(await waits(6, cut), true, 'a partly cut page');
  t.equal(await waits(5, cut), false);
  t.equal(sizeOf(open, inode), 6 * PAGE + 1);

  const punch = (offset: number, length: number) => (signal: AbortSignal) =>
    punchHole(volume, inode, { offset, length }, { signal });
  t.equal(await waits(2, punch(2 * PAGE + 10, 20)), true, 'an edge page');
  t.equal(await waits(3, punch(2 * PAGE + 10, PAGE)), true, 'the other edge page');
  t.equal(await waits(4, punch(2 * PAGE + 10, PAGE)), false, 'the page behind');
  const zero = (offset: number, length: number) => (signal: AbortSignal) =>
    zeroRange(volume, inode, { offset, length, keepSize: true }, { signal });
  t.equal(await waits(5, zero(4 * PAGE, 2 * PAGE)), true);
  t.equal(await waits(3, zero(4 * PAGE, 2 * PAGE)), false);

  const replace = async (signal: AbortSignal) => {
    await replaceData(volume, inode, await stageContent(volume, once(Buffer.alloc(10))), {
      signal,
    });
  };
  t.equal(await waits(0, replace), true, 'a swap waits for the whole file');
  t.equal(open.volume.reservations.count, 0, 'and leaves no block behind when it is cancelled');

  const write = () => writeFile(volume, inode, 0, Buffer.alloc(9 * PAGE, 1));
  t.equal(await waits(0, write), false, 'a write waits for nothing');
  const space = { offset: 0, length: 20 * PAGE, keepSize: false };
  t.equal(await waits(8, () => fallocate(volume, inode, space)), false, 'nor does preallocation');
  await closeClean(t, open);
});

t.test('truncateFile: a file that shrank while it waited is waited for again', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await withFile(t, 4);
  const { volume, inode } = open;
  const first = mediaOf(open, inode, 0);
  const last = mediaOf(open, inode, 3 * PAGE);
  open.pin(last, PAGE);
  open.pin(first, PAGE);
  const shrinking = truncateFile(volume, inode, 3 * PAGE + 10);
  const cutting = truncateFile(volume, inode, 10);
  await settle(20);
  open.unpin(last, PAGE);
  await settle(20);
  t.equal(sizeOf(open, inode), 3 * PAGE + 10, 'the first change is done, the second waits');
  const growing = truncateFile(volume, inode, 6 * PAGE);
  await settle(20);
  t.equal(sizeOf(open, inode), 3 * PAGE + 10);
  open.unpin(first, PAGE);
  await Promise.all([shrinking, cutting, growing]);
  t.equal(sizeOf(open, inode), 6 * PAGE);
  const content = Buffer.alloc(6 * PAGE, 0xff);
  readFile(volume, inode, 0, content);
  t.ok(content.equals(Buffer.concat([Buffer.alloc(10, 0x11)], 6 * PAGE)), 'zeros behind byte 10');
  await closeClean(t, open);
});

t.test('layout changes: a file that is removed while they wait is theirs until then', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await withFile(t, 4);
  const { volume, inode } = open;
  const first = mediaOf(open, inode, 0);
  open.pin(first, PAGE);
  const truncated = truncateFile(volume, inode, 0);
  await open.fs.unlink('a');
  const late = truncateFile(volume, inode, 0);
  await settle(20);
  open.unpin(first, PAGE);
  t.match(await truncated, { freedBytes: 4 * PAGE });
  await t.rejects(late, { name: 'DaxdError', code: 'ENOENT' }, 'it came behind the eviction');
  t.equal(open.layouts.size, 0);
  await closeClean(t, open);
});

t.test('freeBlocks: freed blocks are handed out once the commit is durable', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  let hold: Promise<void> | undefined;
  const open = await openImage(newImage(t, ['-m', '0'], 16 * MIB), {
    async onPersist() {
      await hold;
    },
  });
  const { volume } = open;
  const a = await open.fs.create('a');
  const b = await open.fs.create('b');
  const length = volume.free.blocks * PAGE;
  await fallocate(volume, a, { offset: 0, length, keepSize: false });
  t.equal(volume.free.blocks, 0);
  await t.rejects(writeFile(volume, b, 0, Buffer.from('x')), {
    name: 'DaxdError',
    code: 'ENOSPC',
  });

  let release: (() => void) | undefined;
  hold = new Promise((resolve) => {
    release = resolve;
  });
  const freed = truncateFile(volume, a, 0);
  await settle(20);
  t.equal(volume.reservations.count, length / PAGE, 'free on the media, not yet to be had');
  let isWritten = false;
  const written = writeFile(volume, b, 0, Buffer.from('x')).then(() => (isWritten = true));
  await settle(20);
  t.equal(isWritten, false, 'a write waits for blocks that come back');
  release?.();
  hold = undefined;
  await freed;
  await written;
  t.equal(volume.reservations.count, 0);
  await open.close();
  saveImage(open);
  await closeClean(t, await openImage(open.image));
});

t.test('transact: when persisting fails, the filesystem is read-only from then on', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  let isBroken = false;
  const open = await openImage(newImage(t, [], 16 * MIB), {
    onPersist() {
      if (isBroken) throw new Error('the media fail');
    },
  });
  const inode = await open.fs.create('a');
  isBroken = true;
  await t.rejects(writeFile(open.volume, inode, 0, Buffer.from('x')), {
    message: 'the media fail',
  });
  t.ok(open.volume.readOnly);
  t.equal(open.volume.reservations.count, 0);
  await t.rejects(open.fs.create('b'), { name: 'DaxdError', code: 'EROFS' });
  const bytes = Buffer.alloc(4096);
  open.backing.mapping.read(0, bytes);
  await open.close();
  t.equal(bytes.readUInt32LE(1024 + 0x60) & 4, 4, 'RECOVER stays set: the next mount replays');
});

t.test('writeFile: a hundred at once keep every byte', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const { volume } = open;
  const inode = await open.fs.create('a');
  await fallocate(volume, inode, { offset: 0, length: 10 * PAGE, keepSize: true });
  const writes = Array.from({ length: 100 }, (_, i) =>
    writeFile(volume, inode, i * 700, Buffer.alloc(700, i + 1)),
  );
  await Promise.all(writes);
  const wanted = Buffer.concat(Array.from({ length: 100 }, (_, i) => Buffer.alloc(700, i + 1)));
  const content = Buffer.alloc(70_000);
  t.equal(readFile(volume, inode, 0, content), 70_000);
  t.ok(content.equals(wanted));
  await closeClean(t, open);
});

t.test('closeVolume: what comes later is refused, what is under way ends first', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const inode = await open.fs.create('a');
  const creating = open.fs.create('b');
  const closing = open.close();
  await t.rejects(writeFile(open.volume, inode, 0, Buffer.from('x')), {
    name: 'DaxdError',
    code: 'ESHUTDOWN',
  });
  await creating;
  await closing;
  const again = await openImage(open.image);
  t.ok(again.fs.lookup('b') > 0);
  await closeClean(t, again);
});
