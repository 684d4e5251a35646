import { randomBytes } from 'node:crypto';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { mountExt4 } from '../../../../src/fs/ext4/ext4.js';
import { mkfsExt4 } from '../../../../src/fs/ext4/mkfs.js';
import { systemClock } from '../../../../src/lib/clock.js';
import { silentLogger } from '../../../../src/lib/logger.js';
import { GIB, MIB } from '../../../../src/lib/units.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { openBacking } from '../../../../src/media/open-backing.js';
import { debugfs, fsck, kernelTree, runJudge, withLoopMount } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { mountForTest, mountImage, ownTree, readAll } from './set-up.js';
import { layoutsOf } from '../../../support/layouts.js';
import { MemoryBacking } from '../../../support/memory-backing.js';

const UUID = '11111111-2222-3333-4444-555555555555';

/** What of a large medium is made dirty: every place where mkfs puts something lies in here. */
const DIRTY_GROUP_BYTES = MIB;
const DIRTY_FLEX_BYTES = 130 * MIB;
const GROUP_BYTES = 128 * MIB;
const FLEX_BYTES = 16 * GROUP_BYTES;

/** A filesystem over memory full of 0xA5, so that what mkfs leaves out shows. */
async function makeDirty(path: string, sizeBytes: number): Promise<void> {
  const backing = await openBacking(path, { sizeBytes, sparse: true, log: silentLogger });
  const range = new BackingRange(backing, 0, sizeBytes);
  for (let start = 0; start < sizeBytes; start += GROUP_BYTES) {
    const dirty = start % FLEX_BYTES === 0 ? DIRTY_FLEX_BYTES : DIRTY_GROUP_BYTES;
    range.fill(start, Math.min(dirty, sizeBytes - start), 0xa5);
  }
  range.fill(sizeBytes - DIRTY_GROUP_BYTES, DIRTY_GROUP_BYTES, 0xa5);
  await mkfsExt4(range, { label: 'daxdata', uuid: UUID, clock: systemClock });
  await backing.close();
}

for (const sizeBytes of [8 * MIB, 64 * MIB, 130 * MIB, 300 * MIB, GIB, 8 * GIB]) {
  t.test(
    `ext4.md 7.24: ${sizeBytes / MIB} MiB made over dirty memory are clean to every judge`,
    async (t) => {
      if (!requires(t, { commands: ['e2fsck', 'dumpe2fs', 'mount'], root: true })) return;
      const image = join(scratchDirectory(t), 'image');
      await makeDirty(image, sizeBytes);
      t.match(fsck(image), { status: 0 });
      if (sizeBytes > 256 * MIB) {
        t.match(fsck(image, ['-b', '32768']), { status: 0 }, 'from the backup superblock');
      }
      const header = runJudge('dumpe2fs', ['-h', image]).output;
      t.match(header, /Filesystem volume name: +daxdata/);
      t.match(header, new RegExp(`Filesystem UUID: +${UUID}`));
      t.match(
        header,
        /Journal features: +journal_incompat_revoke journal_64bit journal_checksum_v3/,
      );
      t.match(header, /Orphan file inode: +12/);
      const content = randomBytes(3 * MIB + 1);
      await withLoopMount(image, 'rw', (directory) => {
        writeFileSync(join(directory, 'theirs'), content);
      });
      t.match(fsck(image), { status: 0 }, 'after the kernel wrote to it');

      const { fs, warnings } = await mountForTest(t, image);
      t.strictSame(warnings, []);
      t.strictSame([...fs.readdir(fs.lookup(''))].map(({ name }) => name.toString()).toSorted(), [
        'lost+found',
        'theirs',
      ]);
      t.ok((await readAll(fs, fs.lookup('theirs'))).equals(content));
    },
  );
}

t.test('mkfsExt4: the kernel mounts it, writes to it, and daxd reads that', async (t) => {
  if (!requires(t, { commands: ['e2fsck', 'mount'], root: true })) return;
  const image = join(scratchDirectory(t), 'image');
  await makeDirty(image, 64 * MIB);
  const expected = await withLoopMount(image, 'rw', (directory) => {
    for (let i = 0; i < 200; i++) {
      writeFileSync(join(directory, `file-${i}`), randomBytes(i * 300));
    }
    return kernelTree(directory);
  });
  t.match(fsck(image), { status: 0 });
  t.match(debugfs(image, 'show_super_stats -h'), /orphan_file/);
  const { fs, warnings } = await mountForTest(t, image);
  t.strictSame(warnings, []);
  t.strictSame(await ownTree(fs), expected);
});

t.test('mkfsExt4: daxd and the kernel in turns on one image', async (t) => {
  if (!requires(t, { commands: ['e2fsck', 'mount'], root: true })) return;
  const image = join(scratchDirectory(t), 'image');
  await makeDirty(image, 32 * MIB);
  for (let round = 0; round < 3; round++) {
    const { fs, close } = await mountImage(image);
    await fs.mkdir(`ours-${round}`);
    await fs.create(`ours-${round}/file`);
    const ours = await ownTree(fs);
    await close();
    t.match(fsck(image), { status: 0 });
    const theirs = await withLoopMount(image, 'rw', (directory) => {
      t.strictSame(kernelTree(directory), ours);
      writeFileSync(join(directory, `ours-${round}`, 'theirs'), 'kernel');
      return kernelTree(directory);
    });
    const again = await mountImage(image);
    t.strictSame(await ownTree(again.fs), theirs);
    await again.close();
  }
});

t.test('mkfsExt4: over an older filesystem nothing of it stays visible', async (t) => {
  if (!requires(t, { commands: ['blkid'] })) return;
  const image = join(scratchDirectory(t), 'image');
  const old = Buffer.alloc(32 * MIB);
  old.write('SWAPSPACE2', 4086);
  old.write('_BHRfS_M', 65536 + 64);
  old.write('FAT16   ', 54);
  writeFileSync(image, old);
  const backing = await openBacking(image, { log: silentLogger });
  const range = new BackingRange(backing, 0, backing.sizeBytes);
  await mkfsExt4(range, { label: '', clock: systemClock });
  await backing.close();
  t.match(runJudge('blkid', ['-p', image]), { status: 0, output: /TYPE="ext4"/ });
});

t.test(
  'mkfsExt4: a partition that begins and ends within a page, over short windows',
  async (t) => {
    if (!requires(t, { commands: ['e2fsck'] })) return;
    const image = join(scratchDirectory(t), 'image');
    const backing = new MemoryBacking(34 * MIB, { windowBytes: 4096 });
    backing.mapping.fill(0, backing.sizeBytes, 0xa5);
    const range = new BackingRange(backing, 512, 33 * MIB + 1024);
    await mkfsExt4(range, { label: 'odd', clock: systemClock });
    const layouts = layoutsOf();
    const options = { readOnly: false, layouts, log: silentLogger, clock: systemClock };
    const fs = await mountExt4(range, options);
    await fs.mkdir('a');
    const content = randomBytes(5 * MIB + 3);
    async function* pieces(): AsyncGenerator<Buffer> {
      yield content;
    }
    const { inode } = await fs.replace('a/file', pieces());
    t.ok((await readAll(fs, inode)).equals(content));
    await fs.unmount();

    const bytes = Buffer.alloc(range.length);
    range.read(0, bytes);
    writeFileSync(image, bytes);
    t.match(fsck(image), { status: 0 });
    t.equal(
      backing.mapping.view(0, 512).every((byte) => byte === 0xa5),
      true,
      'before it',
    );
    const behind = Buffer.alloc(4096);
    backing.mapping.read(33 * MIB + 1536, behind);
    t.equal(
      behind.every((byte) => byte === 0xa5),
      true,
      'and behind it nothing changed',
    );
  },
);

t.test('mkfsExt4: holes stay holes where zeros belong, and dirty data does not', async (t) => {
  if (!requires(t, { commands: ['e2fsck'] })) return;
  const image = join(scratchDirectory(t), 'image');
  const sizeBytes = 4 * GIB;
  const backing = await openBacking(image, { sizeBytes, sparse: true, log: silentLogger });
  const range = new BackingRange(backing, 0, sizeBytes);
  // Within the inode tables of the first and of a later flex group, and in the journal.
  const dirty = [3 * MIB + 100, 2 * GIB + 2 * MIB + 5000, 200 * MIB];
  for (const offset of dirty) range.fill(offset, 20_000, 0xa5);
  await mkfsExt4(range, { label: '', clock: systemClock });
  await backing.close();
  t.match(fsck(image), { status: 0 });
  t.match(fsck(image, ['-b', '32768']), { status: 0 }, 'which reads all tables');
  const allocatedBytes = statSync(image).blocks * 512;
  t.ok(allocatedBytes < 4 * MIB, `${allocatedBytes} bytes, its inode tables alone have 64 MiB`);
});

t.test('mkfsExt4: times after 2038 are those of the clock', async (t) => {
  if (!requires(t, { commands: ['e2fsck', 'mount'], root: true })) return;
  // 2026, 2040 and 2150.
  for (const wallMs of [1_767_225_600_000, 2_208_988_800_000, 5_680_281_600_000]) {
    const image = join(scratchDirectory(t), 'image');
    const backing = await openBacking(image, { sizeBytes: 16 * MIB, log: silentLogger });
    const range = new BackingRange(backing, 0, 16 * MIB);
    await mkfsExt4(range, { label: '', clock: { ...systemClock, wallMs: () => wallMs } });
    await backing.close();
    t.match(fsck(image), { status: 0 });
    await withLoopMount(image, 'ro', (root) => {
      for (const name of ['', 'lost+found']) {
        const { atimeMs, mtimeMs, ctimeMs, birthtimeMs } = statSync(join(root, name));
        const times = [atimeMs, mtimeMs, ctimeMs, birthtimeMs];
        t.strictSame(times, [wallMs, wallMs, wallMs, wallMs], `/${name} at ${wallMs}`);
      }
    });
  }
});
