import { readFileSync, writeFileSync } from 'node:fs';

import t from 'tap';

import { METADATA } from '../../../../src/fs/ext4/allocator.js';
import { clearBits } from '../../../../src/fs/ext4/bitmap.js';
import { mapExtents, treeOf } from '../../../../src/fs/ext4/extent-tree.js';
import { writeFile } from '../../../../src/fs/ext4/file-write.js';
import {
  modifyBlockBitmap,
  readBlockBitmap,
  readInodeBitmap,
} from '../../../../src/fs/ext4/group-bitmaps.js';
import { Group, modifyGroup, readGroup } from '../../../../src/fs/ext4/group.js';
import { freeInode } from '../../../../src/fs/ext4/inode-allocator.js';
import { releaseInodeBlocks } from '../../../../src/fs/ext4/inode-release.js';
import { locateInode } from '../../../../src/fs/ext4/inode-place.js';
import { readInode } from '../../../../src/fs/ext4/inode.js';
import { BLOCK_SIZE } from '../../../../src/fs/ext4/layout.js';
import { MIB } from '../../../../src/lib/units.js';
import { debugfsWrite, fsck, sha256Of } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck', 'debugfs'];

function flipByte(image: string, offset: number): void {
  const bytes = readFileSync(image);
  bytes[offset] = (bytes[offset] ?? 0) ^ 1;
  writeFileSync(image, bytes);
}

t.test('checksums: one byte flipped is EBADMSG and names the structure', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t);
  const made = await openImage(image);
  const inode = await made.fs.create('a');
  for (let i = 0; i < 20; i++) {
    await writeFile(made.volume, inode, i * 8192, Buffer.alloc(4096, 1));
  }
  await closeClean(t, made);
  const xattr = 'x'.repeat(2000);
  debugfsWrite(image, [`ea_set <${inode}> user.large ${xattr}`]);
  const pristine = readFileSync(image);

  const clean = await openImage(image, { readOnly: true });
  const { volume } = clean;
  const group = readGroup(volume, volume, 0);
  const file = readInode(volume, volume, inode);
  const place = locateInode(volume, inode);
  const tree = file.iBlock.readUInt32LE(16);
  const attributes = file.fileAcl;
  t.ok(attributes > 0, 'the attribute has a block of its own');
  await clean.close();

  const inOpen = [
    [1024 + 0x78, /superblock/],
    [BLOCK_SIZE + 0x0c, /group descriptor 0/],
  ] as const;
  for (const [offset, message] of inOpen) {
    flipByte(image, offset);
    await t.rejects(openImage(image), { name: 'DaxdError', code: 'EBADMSG', message });
    writeFileSync(image, pristine);
  }

  const later = [
    [group.blockBitmap * BLOCK_SIZE + 900, /block bitmap of group 0/],
    [group.inodeBitmap * BLOCK_SIZE + 9, /inode bitmap of group 0/],
    [place.blockNumber * BLOCK_SIZE + place.offset + 4, new RegExp(`inode ${inode}`)],
    [tree * BLOCK_SIZE + 40, new RegExp(`extent tree of inode ${inode}`)],
    [attributes * BLOCK_SIZE + 100, new RegExp(`attribute block of inode ${inode}`)],
  ] as const;
  for (const [offset, message] of later) {
    flipByte(image, offset);
    const open = await openImage(image);
    const changed = open.volume.transact((txn) => {
      readBlockBitmap(txn, open.volume, 0);
      readInodeBitmap(txn, open.volume, 0);
      const found = readInode(txn, open.volume, inode);
      mapExtents(treeOf(txn, open.volume, found));
      releaseInodeBlocks(txn, open.volume, found, METADATA);
      freeInode(txn, open.volume, found);
    });
    await t.rejects(changed, { name: 'DaxdError', code: 'EBADMSG', message });
    await open.close();
    writeFileSync(image, pristine);
  }
});

t.test('releaseInodeBlocks: a block of attributes goes with the last inode', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t);
  const made = await openImage(image);
  const free = made.volume.free.blocks;
  const inode = await made.fs.create('a');
  await closeClean(t, made);
  debugfsWrite(image, [`ea_set <${inode}> user.large ${'x'.repeat(2000)}`]);
  const open = await openImage(image);
  t.equal(open.volume.free.blocks, free - 1);
  await writeFile(open.volume, inode, 0, Buffer.alloc(9000, 1));
  t.equal(readInode(open.volume, open.volume, inode).blocks, 3 + 1, 'i_blocks counts it');
  t.equal(fsck(image).status, 0);
  await open.fs.unlink('a');
  t.equal(open.volume.free.blocks, free);
  await closeClean(t, open);
});

/** Changes a group descriptor of an image and seals it again. */
async function patchGroup(
  image: string,
  number: number,
  patch: (desc: Buffer) => void,
): Promise<void> {
  const open = await openImage(image, { readOnly: true });
  const { checksumSeed, descSize } = open.volume.superblock;
  await open.close();
  const bytes = readFileSync(image);
  const at = BLOCK_SIZE + number * descSize;
  const desc = bytes.subarray(at, at + descSize);
  patch(desc);
  new Group(number, desc).seal(checksumSeed);
  writeFileSync(image, bytes);
}

t.test('openVolume: hostile group descriptors with right checksums are EUCLEAN', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const cases: readonly (readonly [string, (desc: Buffer) => void])[] = [
    ['a table outside', (desc) => desc.writeUInt32LE(0xffffff00, 8)],
    ['a table over the descriptors', (desc) => desc.writeUInt32LE(1, 8)],
    ['a table over another', (desc) => desc.writeUInt32LE(desc.readUInt32LE(0), 4)],
    ['more free blocks than there are', (desc) => desc.writeUInt16LE(2049, 12)],
    ['more free inodes than there are', (desc) => desc.writeUInt16LE(60000, 14)],
  ];
  for (const [name, patch] of cases) {
    const image = newImage(t, ['-g', '2048'], 16 * MIB);
    await patchGroup(image, 1, patch);
    await t.rejects(openImage(image), { name: 'DaxdError', code: 'EUCLEAN' }, name);
  }
});

t.test('readBlockBitmap: one that has tables as free is EUCLEAN', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t, [], 16 * MIB);
  const open = await openImage(image);
  const group = readGroup(open.volume, open.volume, 0);
  const table = group.inodeTable;
  await open.volume.transact((txn) => {
    clearBits(modifyBlockBitmap(txn, open.volume, modifyGroup(txn, open.volume, 0)), table, 1);
  });
  // As the next mount finds it: what this one made it takes for right.
  open.volume.cache.drop(group.blockBitmap);
  t.throws(() => readBlockBitmap(open.volume, open.volume, 0), {
    name: 'DaxdError',
    code: 'EUCLEAN',
    message: /block bitmap of group 0/,
  });
  const inode = await open.fs.create('a').catch(() => 0);
  const written = inode === 0 ? undefined : writeFile(open.volume, inode, 0, Buffer.alloc(1));
  if (written) await t.rejects(written, { name: 'DaxdError', code: 'EUCLEAN' });
  await open.close();
});

t.test('openVolume: a first group that is marked as unused is EUCLEAN', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  for (const flags of [1, 2, 3]) {
    const image = newImage(t);
    debugfsWrite(image, [`set_bg 0 flags ${flags}`, 'set_bg 0 checksum calc']);
    t.not(fsck(image).status, 0, 'e2fsck finds something, too');
    const before = sha256Of(image);
    const message = /group descriptor 0: its bitmaps/;
    await t.rejects(openImage(image), { name: 'DaxdError', code: 'EUCLEAN', message });
    t.equal(sha256Of(image), before, 'not a byte changed');
  }
});

t.test('writeFile: blocks of a group in use that is marked as unused stay', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t, ['-g', '4096', '-N', '1024']);
  const old = Buffer.alloc(24 * MIB, 1);
  writeFileSync(`${image}.data`, old);
  const made = debugfsWrite(image, [`write ${image}.data f`]);
  const kept = Number(/Allocated inode: (\d+)/.exec(made)?.[1]);
  // Group 1 is full of blocks of the file.
  debugfsWrite(image, ['set_bg 1 flags 6', 'set_bg 1 checksum calc']);
  t.not(fsck(image).status, 0, 'e2fsck finds something, too');

  const open = await openImage(image);
  const inode = await open.fs.create('new');
  await writeFile(open.volume, inode, 0, Buffer.alloc(6 * MIB, 2));
  const message = /block bitmap of group 1: \d+ blocks are free in it, \d+ by/;
  t.match(open.volume.damaged.blocks.damage?.message, message, 'others are taken');
  const content = Buffer.alloc(old.length);
  open.fs.read(kept, 0, content);
  t.ok(content.equals(old), 'the file in it is as it was');
  await open.close();
});

t.test(
  'readInodeBitmap, readBlockBitmap: more free than the descriptor says is EUCLEAN',
  async (t) => {
    if (!requires(t, { commands: COMMANDS })) return;
    const image = newImage(t, ['-g', '4096', '-N', '1024']);
    // Group 1 has no inode in use, and the bitmap is still to be made.
    await patchGroup(image, 1, (desc) => desc.writeUInt16LE(desc.readUInt16LE(14) - 1, 14));
    await patchGroup(image, 0, (desc) => desc.writeUInt16LE(desc.readUInt16LE(14) - 1, 14));
    await patchGroup(image, 0, (desc) => desc.writeUInt16LE(desc.readUInt16LE(12) - 1, 12));
    t.not(fsck(image).status, 0, 'e2fsck finds something, too');
    const { volume, close } = await openImage(image, { readOnly: true });
    for (const number of [0, 1]) {
      const message = new RegExp(`inode bitmap of group ${number}: `);
      const refusal = { name: 'DaxdError', code: 'EUCLEAN', message };
      t.throws(() => readInodeBitmap(volume, volume, number), refusal);
    }
    t.throws(() => readBlockBitmap(volume, volume, 0), {
      code: 'EUCLEAN',
      message: /block bitmap of group 0: /,
    });
    t.doesNotThrow(() => readBlockBitmap(volume, volume, 1));
    await close();
  },
);

t.test('create: an inode in use that the bitmap has as free is EUCLEAN', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t);
  const made = await openImage(image);
  const inode = await made.fs.create('f');
  await writeFile(made.volume, inode, 0, Buffer.alloc(2 * BLOCK_SIZE, 7));
  const free = readGroup(made.volume, made.volume, 0).freeInodes + 1;
  await closeClean(t, made);
  const requests = [`freei <${inode}>`, `set_bg 0 free_inodes_count ${free}`];
  debugfsWrite(image, [...requests, 'set_bg 0 checksum calc']);
  t.not(fsck(image).status, 0, 'e2fsck finds something, too');

  const message = new RegExp(`inode bitmap of group 0: inode ${inode} is free in it, but in use`);
  const refusal = { name: 'DaxdError', code: 'EUCLEAN', message };
  const { fs, close } = await openImage(image);
  await t.rejects(fs.create('g'), refusal, 'it has a name');
  const file = fs.open(inode);
  await fs.unlink('f');
  await t.rejects(fs.create('g'), refusal, 'it is open');
  const content = Buffer.alloc(2 * BLOCK_SIZE);
  fs.read(inode, 0, content);
  t.ok(content.equals(Buffer.alloc(2 * BLOCK_SIZE, 7)), 'and as it was');
  await file.close();
  await close();
});
