import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { truncateFile } from '../../../../src/fs/ext4/file-truncate.js';
import { writeFile } from '../../../../src/fs/ext4/file-write.js';
import { readGroup } from '../../../../src/fs/ext4/group.js';
import { BLOCK_SIZE } from '../../../../src/fs/ext4/layout.js';
import { sealSuperblock } from '../../../../src/fs/ext4/superblock.js';
import { systemClock } from '../../../../src/lib/clock.js';
import type { Clock } from '../../../../src/lib/clock.js';
import { GIB, KIB, MIB, roundUp } from '../../../../src/lib/units.js';
import { fsck, runJudge, sha256Of, withLoopMount } from '../../../support/ext4-image.js';
import { extract } from '../../../support/extract.js';
import { requires } from '../../../support/requires.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck', 'debugfs', 'dumpe2fs'];

/** Changes the superblock of an image and seals it again. */
function patchSuperblock(image: string, patch: (bytes: Buffer) => void): void {
  const bytes = readFileSync(image);
  const superblock = bytes.subarray(1024, 2048);
  patch(superblock);
  sealSuperblock(superblock);
  writeFileSync(image, bytes);
}

function header(image: string, field: string): string {
  const { output } = runJudge('dumpe2fs', ['-h', image]);
  return new RegExp(`^${field}:\\s+(.*)$`, 'm').exec(output)?.[1] ?? '';
}

function clockAt(seconds: number): Clock {
  return { ...systemClock, wallMs: () => seconds * 1000 };
}

t.test('openVolume: in use while mounted, and afterwards clean with the counters', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t);
  t.notMatch(header(image, 'Filesystem features'), /needs_recovery/);
  const open = await openImage(image);
  t.match(header(image, 'Filesystem features'), /needs_recovery/);
  t.equal(header(image, 'Filesystem state'), 'clean', 'a journal keeps it so');
  t.equal(header(image, 'Mount count'), '1');
  const inode = await open.fs.create('a');
  await writeFile(open.volume, inode, 0, Buffer.alloc(100 * KIB, 1));
  const { blocks, inodes } = open.volume.free;
  await closeClean(t, open);
  t.notMatch(header(image, 'Filesystem features'), /needs_recovery/);
  t.equal(header(image, 'Free blocks'), String(blocks));
  t.equal(header(image, 'Free inodes'), String(inodes));
});

t.test('openVolume: the time of the last write never goes down with the clock', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t);
  const writtenSeconds = (): number => readFileSync(image).readUInt32LE(1024 + 0x30);
  const made = writtenSeconds();
  const times: number[] = [];
  for (const after of [7200, 3600, 7201]) {
    const { close } = await openImage(image, { clock: clockAt(made + after) });
    times.push(writtenSeconds() - made);
    await close();
    times.push(writtenSeconds() - made);
  }
  t.strictSame(times, [7200, 7200, 7200, 7200, 7201, 7201]);
});

t.test('openVolume: without a journal the valid bit is clear while mounted', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t, ['-O', '^has_journal']);
  const open = await openImage(image);
  t.equal(header(image, 'Filesystem state'), 'not clean');
  await open.fs.create('a');
  await closeClean(t, open);
  t.equal(header(image, 'Filesystem state'), 'clean');
});

t.test('openVolume: has the features that a large file needs', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  for (const journal of ['has_journal', '^has_journal']) {
    const image = newImage(t, ['-O', `^large_file,^resize_inode,${journal}`]);
    t.notMatch(header(image, 'Filesystem features'), /large_file/);
    const open = await openImage(image);
    await truncateFile(open.volume, await open.fs.create('a'), 3 * GIB);
    await closeClean(t, open);
    t.match(header(image, 'Filesystem features'), /large_file/, journal);
  }
});

t.test('openVolume: has the feature that attributes need, without a journal too', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t, ['-O', '^has_journal,^ext_attr']);
  t.notMatch(header(image, 'Filesystem features'), /ext_attr/);
  const open = await openImage(image);
  const inode = await open.fs.create('a');
  await open.fs.setXattr(inode, 'user.a', Buffer.alloc(500, 1));
  await closeClean(t, open);
  t.match(header(image, 'Filesystem features'), /ext_attr/);
});

t.test('openVolume: what was read is what dumpe2fs shows', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const uuid = '01234567-89ab-4cde-8f01-23456789abcd';
  const image = newImage(t, ['-L', 'label sixteen by', '-U', uuid], 300 * MIB);
  const open = await openImage(image, { readOnly: true });
  const { superblock, free } = open.volume;
  t.equal(superblock.label, 'label sixteen by');
  t.equal(superblock.uuid, uuid);
  t.equal(String(superblock.blocksCount), header(image, 'Block count'));
  t.equal(String(superblock.inodesCount), header(image, 'Inode count'));
  t.equal(String(free.blocks), header(image, 'Free blocks'));
  t.equal(String(free.inodes), header(image, 'Free inodes'));
  t.equal(superblock.groupCount, 3);
  const { output } = runJudge('dumpe2fs', [image]);
  for (let number = 0; number < 3; number++) {
    const group = readGroup(open.volume, open.volume, number);
    const text = output.slice(output.indexOf(`Group ${number}:`));
    const [, blockBitmap] = /Block bitmap at (\d+)/.exec(text) ?? [];
    const [, table] = /Inode table at (\d+)/.exec(text) ?? [];
    const [, freeBlocks, freeInodes] = /(\d+) free blocks, (\d+) free inodes/.exec(text) ?? [];
    t.equal(String(group.blockBitmap), blockBitmap);
    t.equal(String(group.inodeTable), table);
    t.equal(String(group.freeBlocks), freeBlocks);
    t.equal(String(group.freeInodes), freeInodes);
  }
  await open.close();
});

/** Opens for writing, finds it read-only for the reason, and not a byte changed. */
async function opensReadOnly(t: Test, image: string, reason: RegExp): Promise<void> {
  const before = sha256Of(image);
  const open = await openImage(image);
  t.ok(open.volume.readOnly);
  t.match(open.volume.readOnlyReasons.join(), reason);
  await t.rejects(open.fs.create('a'), { name: 'DaxdError', code: 'EROFS', message: reason });
  await open.close();
  t.equal(sha256Of(image), before, 'not a byte changed');
}

t.test('openVolume: read-only where something is left over or unknown', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const repair = /run e2fsck -fy/;
  const cases: readonly (readonly [string, (bytes: Buffer) => void, RegExp])[] = [
    ['not unmounted', (sb) => sb.writeUInt16LE(0, 0x3a), repair],
    ['errors', (sb) => sb.writeUInt16LE(3, 0x3a), repair],
    ['quota', (sb) => sb.writeUInt32LE(sb.readUInt32LE(0x64) | 0x100, 0x64), /the features quota,/],
  ];
  for (const [name, patch, reason] of cases) {
    await t.test(name, async (t) => {
      const image = newImage(t, [], 16 * MIB);
      patchSuperblock(image, patch);
      await opensReadOnly(t, image, reason);
    });
  }
  await t.test('bigalloc', async (t) => {
    const image = newImage(t, ['-O', 'bigalloc']);
    await opensReadOnly(t, image, /the features bigalloc,/);
    const open = await openImage(image);
    t.equal(String(open.volume.free.blocks), header(image, 'Free blocks'));
    await open.close();
  });
});

t.test('openVolume: what a killed daemon answered is there at the next mount', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t);
  const open = await openImage(image);
  const inode = await open.fs.create('a');
  await writeFile(open.volume, inode, 0, Buffer.alloc(MIB, 1));
  t.equal(fsck(image).status, 0, 'e2fsck finds nothing while it is mounted');
  await open.backing.close();
  const again = await openImage(image);
  t.notOk(again.volume.readOnly);
  t.equal(again.fs.stat(again.fs.lookup('a')).size, MIB);
  await closeClean(t, again);
});

t.test('openVolume: a filesystem without a journal opens read-only after a kill', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t, ['-O', '^has_journal']);
  const open = await openImage(image);
  await open.fs.create('a');
  await open.backing.close();
  await opensReadOnly(t, image, /not unmounted/);
  runJudge('e2fsck', ['-fy', image]);
  await closeClean(t, await openImage(image));
});

t.test('openVolume: a dirty journal is replayed in memory where nothing may change', async (t) => {
  if (!requires(t, { commands: COMMANDS, root: true })) return;
  const image = newImage(t);
  const copy = `${image}.copy`;
  await withLoopMount(image, 'rw', (mounted) => {
    mkdirSync(join(mounted, 'new'));
    runJudge('sync', ['-f', mounted]);
    runJudge('cp', [image, copy]);
  });
  const before = sha256Of(copy);
  const open = await openImage(copy, { readOnly: true });
  t.equal(open.fs.stat(open.fs.lookup('new')).type, 'directory');
  await open.close();
  t.equal(sha256Of(copy), before, 'not a byte changed');
});

t.test('openVolume: a superblock torn at mount is taken from its copy', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t);
  const bytes = readFileSync(image);
  bytes.copy(bytes, 2048, 1024, 2048);
  bytes.writeUInt16LE(99, 1024 + 0x34);
  writeFileSync(image, bytes);
  await closeClean(t, await openImage(image));
  bytes.fill(0, 2048, 3072);
  writeFileSync(image, bytes);
  await t.rejects(openImage(image), { code: 'EBADMSG', message: /superblock/ });
});

t.test('openVolume: refuses what it cannot read, not a byte changed', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['inline_data', ['-O', 'inline_data']],
    ['encrypt', ['-O', 'encrypt']],
    ['casefold', ['-O', 'casefold']],
    ['no metadata_csum', ['-O', '^metadata_csum']],
    ['no extents', ['-O', '^extent,^64bit']],
    ['meta_bg', ['-O', 'meta_bg,^resize_inode']],
    ['sparse_super2', ['-O', 'sparse_super2']],
    ['1024-byte blocks', ['-b', '1024']],
  ];
  for (const [name, args] of cases) {
    const image = newImage(t, args, 32 * MIB);
    const before = sha256Of(image);
    await t.rejects(openImage(image), { name: 'DaxdError', code: 'EOPNOTSUPP' }, name);
    t.equal(sha256Of(image), before);
  }
});

t.test('openVolume: bad geometry is EUCLEAN, no filesystem EINVAL', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const cases: readonly (readonly [string, (bytes: Buffer) => void])[] = [
    ['more blocks than the partition has', (sb) => sb.writeUInt32LE(8193, 4)],
    ['no blocks', (sb) => sb.writeUInt32LE(0, 4)],
    ['first data block', (sb) => sb.writeUInt32LE(1, 0x14)],
    ['blocks a group', (sb) => sb.writeUInt32LE(0, 0x20)],
    ['too many blocks a group', (sb) => sb.writeUInt32LE(65536, 0x20)],
    ['inodes a group', (sb) => sb.writeUInt32LE(8, 0x28)],
    ['inode size', (sb) => sb.writeUInt16LE(200, 0x58)],
    ['descriptor size', (sb) => sb.writeUInt16LE(48, 0xfe)],
    ['reserved descriptors', (sb) => sb.writeUInt16LE(60000, 0xce)],
    ['first inode', (sb) => sb.writeUInt32LE(2, 0x54)],
  ];
  for (const [name, patch] of cases) {
    const image = newImage(t, [], 32 * MIB);
    patchSuperblock(image, patch);
    await t.rejects(openImage(image), { name: 'DaxdError', code: 'EUCLEAN' }, name);
  }
  const image = newImage(t, [], 32 * MIB);
  patchSuperblock(image, (sb) => sb.writeUInt16LE(0, 0x38));
  await t.rejects(openImage(image), { name: 'DaxdError', code: 'EINVAL' }, 'no magic');
});

t.test('openVolume: 128-byte inodes are read and written', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t, ['-I', '128']));
  const inode = await open.fs.create('a');
  await writeFile(open.volume, inode, 5000, Buffer.alloc(50 * KIB, 3));
  await closeClean(t, open);
});

t.test('openVolume: a partition that starts at an odd sector works, by copies', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t, [], 16 * MIB);
  const start = 34 * 512;
  const filesystem = readFileSync(image);
  const end = roundUp(start + filesystem.length, BLOCK_SIZE);
  const whole = Buffer.alloc(end);
  filesystem.copy(whole, start);
  writeFileSync(image, whole);
  const open = await openImage(image, { startBytes: start, sizeBytes: filesystem.length });
  const inode = await open.fs.create('a');
  await writeFile(open.volume, inode, 5000, Buffer.alloc(MIB, 3));
  await truncateFile(open.volume, inode, MIB);
  await open.close();
  const { status, output } = fsck(extract(image, [start, filesystem.length], `${image}.inside`));
  t.equal(status, 0, output);
});

t.test('openVolume: a clock of any year does no harm', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  // The first second of 1965, of 2107 and of 2500, which is later than the format's last.
  for (const [seconds, seen] of [
    [-157_766_400n, -157_766_400n],
    [4_323_283_200n, 4_323_283_200n],
    [16_725_225_600n, 2n ** 34n - 2n ** 31n - 1n],
  ] as const) {
    const image = newImage(t);
    const open = await openImage(image, { clock: clockAt(Number(seconds)) });
    const inode = await open.fs.create('a');
    t.equal(open.fs.stat(inode).mtimeNs, seen * 1_000_000_000n);
    await open.fs.create('b');
    await open.fs.unlink('b');
    await closeClean(t, open);
  }
});
