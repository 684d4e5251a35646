/** One damaged bitmap: its group is left out, and the others take what is new, as with the kernel. */
import { closeSync, copyFileSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { BLOCK_SIZE } from '../../../../src/fs/ext4/layout.js';
import { KIB, MIB } from '../../../../src/lib/units.js';
import { debugfsWrite, fsck, runJudge, withLoopMount } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { repair } from './orphan-set-up.js';
import { mountImage, readAll } from './set-up.js';
import { newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'dumpe2fs', 'mount', 'umount'], root: true };
const CONTENT = Buffer.alloc(6 * MIB, 'content');

const DAMAGE = { name: 'DaxdError', code: 'EBADMSG', message: / block bitmap of group 0/ };

/** Flips a byte in a bitmap of the first group. */
function damage(image: string, kind: 'Block' | 'Inode'): void {
  const { output } = runJudge('dumpe2fs', [image]);
  const block = Number(new RegExp(`${kind} bitmap at (\\d+)`).exec(output)?.[1]);
  const fd = openSync(image, 'r+');
  const byte = Buffer.alloc(1);
  // The middle of what is covered by the checksum: a block, or inode, that is free.
  const at = block * BLOCK_SIZE + (kind === 'Block' ? 500 : 20);
  readSync(fd, byte, 0, 1, at);
  writeSync(fd, Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at);
  closeSync(fd);
}

/** Four groups, of which the first has a file. */
async function withOldFile(t: Test): Promise<string> {
  const image = newImage(t, ['-g', '4096', '-N', '1024']);
  const { fs, close } = await mountImage(image);
  await fs.write(await fs.create('old'), 0, CONTENT);
  await close();
  t.match(fsck(image), { status: 0 });
  return image;
}

for (const kind of ['Block', 'Inode'] as const) {
  t.test(`a damaged ${kind.toLowerCase()} bitmap leaves the other groups`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const image = await withOldFile(t);
    damage(image, kind);
    t.not(fsck(image).status, 0);
    const theirs = `${image}.theirs`;
    copyFileSync(image, theirs);
    await withLoopMount(theirs, 'rw', (root) => {
      writeFileSync(join(root, 'new'), CONTENT);
    });

    const { fs, warnings, close } = await mountImage(image);
    const free = fs.statfs();
    for (const name of ['new', 'other']) await fs.write(await fs.create(name), 0, CONTENT);
    await fs.mkdir('dir');
    const taken = fs.statfs();
    t.equal(warnings.length, 1, 'one warning');
    const what = `nothing more is taken from group 0: checksum mismatch: ${kind.toLowerCase()} bitmap`;
    t.match(warnings[0], what);
    t.ok(free.freeBytes - taken.freeBytes >= 2 * CONTENT.length);
    await t.rejects(fs.unlink('old'), { name: 'DaxdError', code: 'EBADMSG' }, 'as before');
    await close();

    t.equal(repair(image).second.status, 0);
    const again = await mountImage(image);
    t.strictSame(again.warnings, []);
    for (const name of ['old', 'new', 'other']) {
      const content = await readAll(again.fs, again.fs.lookup(name));
      t.ok(content.equals(CONTENT), name);
    }
    await again.close();
  });

  t.test(`a damaged ${kind.toLowerCase()} bitmap is told where no other group is`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const image = newImage(t, [], 16 * MIB);
    damage(image, kind);
    const { fs, warnings, close } = await mountImage(image);
    const refusal = { name: 'DaxdError', code: 'EBADMSG', message: / bitmap of group 0/ };
    for (let i = 0; i < 2; i++) await t.rejects(fs.mkdir('dir'), refusal);
    t.equal(warnings.length, 1);
    await close();
  });
}

/** Has the descriptors of groups whose blocks were never used count one block too few. */
function miscount(image: string): number[] {
  const { output } = runJudge('dumpe2fs', [image]);
  const uninit = [
    ...output.matchAll(/Group (\d+):.*\[.*BLOCK_UNINIT.*(?:\n .*)*\n  (\d+) free blocks/g),
  ];
  const requests = uninit.flatMap(([, group, free]) => [
    `set_bg ${group} free_blocks_count ${Number(free) - 1}`,
    `set_bg ${group} checksum calc`,
  ]);
  debugfsWrite(image, requests);
  return uninit.map(([, group]) => Number(group));
}

t.test('a group that no block was taken from gives no inode where it is miscounted', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'e2fsck', 'dumpe2fs', 'debugfs'] })) return;
  const image = newImage(t, ['-g', '4096', '-N', '96', '-J', 'size=4'], 96 * MIB);
  const groups = miscount(image);
  t.ok(groups.length > 1, `groups ${groups.join()}`);

  const { fs, warnings, close } = await mountImage(image);
  const free = fs.statfs().freeInodes;
  const inodesPerGroup = 16;
  await fs.mkdir('dir');
  await fs.write(await fs.create('dir/new'), 0, CONTENT);
  for (let i = 2; i < free - groups.length * inodesPerGroup; i++) await fs.create(`${i}`);
  t.equal(fs.statfs().freeInodes, 0, 'their inodes are not offered');
  const refusal = { code: 'EUCLEAN', message: /^block bitmap of group \d+: \d+ blocks are free/ };
  for (let i = 0; i < 2; i++) await t.rejects(fs.mkdir('none'), refusal);
  const warned = warnings.map((warning) =>
    Number(/^nothing more is taken from group (\d+):/.exec(warning)?.[1]),
  );
  t.strictSame(
    warned.toSorted((a, b) => a - b),
    groups,
    'one warning each',
  );
  await close();
  t.equal(repair(image).second.status, 0);
  const again = await mountImage(image);
  await again.fs.create('more');
  await again.close();
});

/** Four groups, of which the first is found damaged; all but `bytes` of the others are taken. */
async function nearlyFull(t: Test, bytes: number): Promise<OpenImage> {
  const image = newImage(t, ['-m', '0', '-g', '4096', '-N', '1024']);
  damage(image, 'Block');
  const open = await openImage(image);
  const { fs, volume } = open;
  // Its first write comes to the damaged group.
  await fs.write(await fs.create('first'), 0, Buffer.alloc(BLOCK_SIZE));
  const full = await fs.create('full');
  const length = fs.statfs().availableBytes - bytes;
  await fs.fallocate(full, 0, length, { keepSize: true });
  t.equal(fs.statfs().availableBytes, bytes);
  t.match(volume.damaged.blocks.damage, DAMAGE);
  return open;
}

async function* content(bytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes; at += 64 * KIB) yield await Promise.resolve(Buffer.alloc(64 * KIB));
}

t.test(
  'replace: content that fits is taken where room ahead is in damaged groups alone',
  async (t) => {
    if (!requires(t, { commands: ['mke2fs', 'dumpe2fs'] })) return;
    const { fs, close } = await nearlyFull(t, 7 * MIB);
    await t.rejects(fs.replace('more', content(8 * MIB)), DAMAGE);
    await fs.replace('new', content(6 * MIB + 512 * KIB));
    t.equal(fs.stat(fs.lookup('new')).size, 6 * MIB + 512 * KIB);
    await t.rejects(fs.replace('more', content(MIB)), DAMAGE);
    await close();
  },
);

t.test('write, mkdir: what is on its way back is waited for beside damaged groups', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'dumpe2fs'] })) return;
  const open = await nearlyFull(t, 12 * MIB);
  const { fs } = open;
  await fs.write(await fs.create('old'), 0, Buffer.alloc(11 * MIB));
  const file = await fs.create('new');
  await t.rejects(fs.write(file, 0, CONTENT), DAMAGE);
  await Promise.all([fs.unlink('old'), fs.write(file, 0, CONTENT)]);

  const rest = fs.statfs().availableBytes - 16 * BLOCK_SIZE;
  await fs.fallocate(file, CONTENT.length, rest, { keepSize: true });
  const fill = async (): Promise<never> => {
    for (let i = 0; ; i++) await fs.mkdir(`${i}`);
  };
  await t.rejects(fill(), DAMAGE);
  await Promise.all([fs.unlink('new'), fs.mkdir('dir')]);
  const huge = fs.write(await fs.create('huge'), 0, Buffer.alloc(60 * MIB));
  await t.rejects(huge, { name: 'DaxdError', code: 'ENOSPC' });
  await open.close();
});
