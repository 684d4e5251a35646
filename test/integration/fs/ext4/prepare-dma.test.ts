import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';

import t from 'tap';

import { mapExtents, treeOf } from '../../../../src/fs/ext4/extent-tree.js';
import { testBit } from '../../../../src/fs/ext4/bitmap.js';
import { readFile } from '../../../../src/fs/ext4/file-read.js';
import type { FileExtent } from '../../../../src/fs/ext4/file-read.js';
import { fallocate } from '../../../../src/fs/ext4/file-space.js';
import { truncateFile } from '../../../../src/fs/ext4/file-truncate.js';
import { writeFile } from '../../../../src/fs/ext4/file-write.js';
import { readBlockBitmap } from '../../../../src/fs/ext4/group-bitmaps.js';
import { readInode } from '../../../../src/fs/ext4/inode.js';
import { prepareDma } from '../../../../src/fs/ext4/prepare-dma.js';
import { coalesce, subtract } from '../../../../src/lease/byte-ranges.js';
import type { ByteRange } from '../../../../src/lib/byte-range.js';
import { MIB } from '../../../../src/lib/units.js';
import { fsck } from '../../../support/ext4-image.js';
import { unpackKernelNamespace } from '../../../support/fixture.js';
import { requires } from '../../../support/requires.js';
import { closeClean, newImage, openImage, saveImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck'];
const FIXTURE_START = 6291456 + MIB;

/** Fills the free blocks and the unwritten ones of a file with 0xA5. */
function soil({ volume }: OpenImage, inode: number): void {
  const { superblock } = volume;
  for (let group = 0; group < superblock.groupCount; group++) {
    const bits = readBlockBitmap(volume, volume, group);
    for (let bit = 0; bit < superblock.groupBlocks(group); bit++) {
      const block = superblock.groupStart(group) + bit;
      if (!testBit(bits, bit)) volume.range.fill(block * 4096, 4096, 0xa5);
    }
  }
  for (const extent of mapExtents(treeOf(volume, volume, readInode(volume, volume, inode)))) {
    if (extent.unwritten) volume.range.fill(extent.physical * 4096, extent.length * 4096, 0xa5);
  }
}

t.test('prepareDma: prealloc.bin of the fixture becomes written zeros', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = join(t.testdir(), 'namespace');
  await unpackKernelNamespace(image);
  const open = await openImage(image, { startBytes: FIXTURE_START, sizeBytes: 64 * MIB });
  const { volume } = open;
  const inode = open.fs.lookup('prealloc.bin');
  soil(open, inode);

  const read = { offset: 0, length: 8 * MIB, access: 'read' } as const;
  t.strictSame(await prepareDma(volume, inode, read), [], 'a reader gets no unwritten block');
  const write = { offset: 5000, length: MIB, access: 'write' } as const;
  const extents = await prepareDma(volume, inode, write);
  t.strictSame(extents, [
    { fileOffset: 4096, mediaOffset: 5594 * 4096, length: MIB + 4096, unwritten: false },
  ]);
  for (const { mediaOffset, length } of extents) {
    const bytes = Buffer.alloc(length, 1);
    volume.range.read(mediaOffset, bytes);
    t.ok(
      bytes.every((byte) => byte === 0),
      'no stale byte is lent',
    );
    volume.range.fill(mediaOffset, length, 0x42);
  }
  const content = Buffer.alloc(8 * MIB);
  readFile(volume, inode, 0, content);
  t.equal(content[4095], 0);
  t.equal(content[4096], 0x42, 'what the DMA stored is what the file reads as');
  t.equal(content[4096 + MIB + 4095], 0x42);
  t.equal(content[4096 + MIB + 4096], 0);
  await open.close();
  // 512 bytes a sector: e2fsck takes the partition's start as an offset in bytes.
  const verdict = fsck(`${image}?offset=${FIXTURE_START}`);
  t.equal(verdict.status, 0, verdict.output);
});

t.test('prepareDma: holes get zeroed blocks, in one go', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const { volume } = open;
  const inode = await open.fs.create('a');
  await writeFile(volume, inode, 3 * 4096 + 5, Buffer.alloc(10, 7));
  await truncateFile(volume, inode, 6 * MIB + 1);
  await fallocate(volume, inode, { offset: 5 * 4096, length: 4096, keepSize: true });
  soil(open, inode);

  const range = { offset: 0, length: 6 * MIB + 4096, access: 'write' } as const;
  const extents = await prepareDma(volume, inode, range);
  t.equal(
    extents.reduce((total, { length }) => total + length, 0),
    6 * MIB + 4096,
  );
  const content = Buffer.alloc(6 * MIB + 1, 1);
  readFile(volume, inode, 0, content);
  const wanted = Buffer.alloc(6 * MIB + 1);
  wanted.fill(7, 3 * 4096 + 5, 3 * 4096 + 15);
  t.ok(content.equals(wanted), 'it reads as before');
  t.strictSame(await prepareDma(volume, inode, range), extents, 'a second call changes nothing');
  t.strictSame(await prepareDma(volume, inode, { ...range, access: 'read' }), extents);
  await closeClean(t, open);
});

t.test('prepareDma: zeros are durable before the commit that names them', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const steps: (ByteRange & { readonly isDurable: boolean })[] = [];
  const open = await openImage(newImage(t), {
    async onPersist(offset, length) {
      steps.push({ offset, length, isDurable: false });
      // It takes its time: whoever does not wait for it is seen to begin before its end.
      await setTimeout(20);
      steps.push({ offset, length, isDurable: true });
    },
  });
  const { volume, fs } = open;
  const inode = await fs.create('a');
  await writeFile(volume, inode, 3 * 4096, Buffer.alloc(4096, 7));
  await truncateFile(volume, inode, 6 * MIB);
  await fallocate(volume, inode, { offset: 5 * 4096, length: 4096, keepSize: true });
  soil(open, inode);
  const written = fs.extents(inode, 3 * 4096, 4 * 4096);
  steps.length = 0;

  const range = { offset: 0, length: 6 * MIB, access: 'write' } as const;
  const zeroed = subtract(placesOf(await prepareDma(volume, inode, range)), placesOf(written));
  t.equal(bytesOf(zeroed), 6 * MIB - 4096, 'all but what was written');
  const commit = steps.findIndex((step) => subtract([step], zeroed).length > 0);
  t.ok(commit >= 0, 'the log is made durable too');
  const before = steps.slice(0, commit).filter(({ isDurable }) => isDurable);
  t.strictSame(subtract(zeroed, coalesce(before)), [], 'the zeros were by then');
  await open.close();
  saveImage(open);
  const { status, output } = fsck(open.image);
  t.equal(status, 0, output);
});

t.test('prepareDma: what is not in the file is EINVAL, and changes nothing', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const { volume } = open;
  const inode = await open.fs.create('a');
  await writeFile(volume, inode, 0, Buffer.alloc(100));
  const refused = [
    [0, 4097],
    [100, 1],
    [4096, 1],
    [0, 0],
    [-4096, 4096],
    [0.5, 1],
    [2 ** 53, 1],
  ] as const;
  for (const [offset, length] of refused) {
    for (const access of ['read', 'write'] as const) {
      await t.rejects(
        prepareDma(volume, inode, { offset, length, access }),
        { name: 'DaxdError', code: 'EINVAL' },
        `${offset} ${length} ${access}`,
      );
    }
  }
  const last = await prepareDma(volume, inode, { offset: 99, length: 3997, access: 'write' });
  t.match(last, [{ fileOffset: 0, length: 4096 }], 'the rest of the last page is allowed');
  await t.rejects(prepareDma(volume, 2, { offset: 0, length: 1, access: 'read' }), {
    name: 'DaxdError',
    code: 'EISDIR',
  });
  await closeClean(t, open);
});

t.test('prepareDma: without space nothing changes', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t, [], 16 * MIB));
  const { volume } = open;
  const inode = await open.fs.create('a');
  await truncateFile(volume, inode, 100 * MIB);
  const range = { offset: 0, length: 100 * MIB, access: 'write' } as const;
  await t.rejects(prepareDma(volume, inode, range), { name: 'DaxdError', code: 'ENOSPC' });
  t.strictSame(mapExtents(treeOf(volume, volume, readInode(volume, volume, inode))), []);
  t.equal(volume.reservations.count, 0);
  await closeClean(t, open);
});

t.test('prepareDma: a grant for writing sets mtime, one for reading does not', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const { volume } = open;
  const inode = await open.fs.create('file');
  await writeFile(volume, inode, 0, Buffer.alloc(4096, 1));
  const mtimeNs = () => readInode(volume, volume, inode).mtimeNs;

  const before = mtimeNs();
  await prepareDma(volume, inode, { offset: 0, length: 4096, access: 'read' });
  t.equal(mtimeNs(), before);
  await until(() => BigInt(Math.floor(volume.clock.wallMs())) * 1_000_000n > before);
  await prepareDma(volume, inode, { offset: 0, length: 4096, access: 'write' });
  t.ok(mtimeNs() > before, 'the device will change what no one sees');
  await closeClean(t, open);
});

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await setImmediate();
}

/** Where extents lie on the media, ascending. */
function placesOf(extents: readonly FileExtent[]): ByteRange[] {
  return coalesce(extents.map(({ mediaOffset, length }) => ({ offset: mediaOffset, length })));
}

function bytesOf(ranges: readonly ByteRange[]): number {
  return ranges.reduce((bytes, { length }) => bytes + length, 0);
}
