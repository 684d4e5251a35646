/** Logs that daxd did not write: debugfs makes them, and e2fsck says what they mean. */
import { copyFileSync, existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';

import t from 'tap';
import type { Test } from 'tap';

import { ERRORS_FOUND } from '../../../../src/fs/ext4/feature-gate.js';
import { BLOCK_SIZE } from '../../../../src/fs/ext4/layout.js';
import { Journal } from '../../../../src/fs/jbd2/journal.js';
import { JSB_BYTES, JsbField } from '../../../../src/fs/jbd2/layout.js';
import { LogArea } from '../../../../src/fs/jbd2/log-area.js';
import { systemClock } from '../../../../src/lib/clock.js';
import { CRC_INIT, crc32c } from '../../../../src/lib/crc32c.js';
import { silentLogger } from '../../../../src/lib/logger.js';
import { MIB } from '../../../../src/lib/units.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { openBacking } from '../../../../src/media/open-backing.js';
import { debugfsWrite, runJudge, sha256Of, withLoopMount } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { closeClean, debugfsExtents, dumpFile, newImage, openImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck', 'debugfs', 'dumpe2fs'];
const DATA = 0x41;
const OLD = 0x5a;
const BLOCKS = 3;
const JOURNAL_INODE = 8;
const NONE = Buffer.alloc(0);

/** An image with a file of three data blocks that lie in a row, and what to log over them. */
function imageWithFile(
  t: Test,
  args: readonly string[],
): { image: string; old: string; inode: number; first: number } {
  const image = newImage(t, args);
  const data = `${image}.data`;
  const old = `${image}.old`;
  writeFileSync(data, Buffer.alloc(BLOCKS * BLOCK_SIZE, DATA));
  writeFileSync(old, Buffer.alloc(BLOCKS * BLOCK_SIZE, OLD));
  const inode = Number(
    /Allocated inode: (\d+)/.exec(debugfsWrite(image, [`write ${data} f`]))?.[1],
  );
  const first = debugfsExtents(image, inode)[0]?.physical ?? 0;
  return { image, old, inode, first };
}

t.test(
  'openVolume: a revoked block is not replayed, whatever the size of its number',
  async (t) => {
    if (!requires(t, { commands: COMMANDS })) return;
    for (const feature of ['64bit', '^64bit']) {
      await t.test(feature, async (t) => {
        const { image, old, inode, first } = imageWithFile(t, ['-O', feature]);
        // Three copies and two numbers: as one number of 64 bits they would be no block at all.
        const requests = [
          'jo -c -v 3',
          `jw -b ${first}-${first + BLOCKS - 1} ${old}`,
          `jw -r ${first},${first + 2}`,
          'jc',
        ];
        debugfsWrite(image, requests);
        const header = runJudge('dumpe2fs', ['-h', image]).output;
        t.match(header, /needs_recovery/);
        t.equal(/Journal features:.*64bit/.test(header), feature === '64bit');
        const judged = `${image}.judged`;
        copyFileSync(image, judged);
        runJudge('e2fsck', ['-fy', judged]);

        await closeClean(t, await openImage(image));
        const content = dumpFile(image, inode);
        const letters = [0, 1, 2].map((i) => content.readUInt8(i * BLOCK_SIZE));
        t.strictSame(letters, [DATA, OLD, DATA]);
        t.ok(content.equals(dumpFile(judged, inode)), 'e2fsck makes the same of it');
      });
    }
  },
);

t.test('readFile: what data=journal left in the log is read from there', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { image, old, inode, first } = imageWithFile(t, []);
  debugfsWrite(image, ['jo -c -v 3', `jw -b ${first + 1} ${old}`, 'jc']);
  const judged = `${image}.judged`;
  copyFileSync(image, judged);
  runJudge('e2fsck', ['-fy', judged]);
  const wanted = dumpFile(judged, inode);
  t.strictSame([wanted[BLOCK_SIZE - 1], wanted[BLOCK_SIZE]], [DATA, OLD]);

  const before = sha256Of(image);
  const { fs, close } = await openImage(image, { readOnly: true });
  const content = Buffer.alloc(wanted.length);
  fs.read(inode, 0, content);
  t.ok(content.equals(wanted), 'as e2fsck would put it in place');
  const part = Buffer.alloc(BLOCK_SIZE + 20);
  fs.read(inode, BLOCK_SIZE - 10, part);
  t.ok(part.equals(wanted.subarray(BLOCK_SIZE - 10, 2 * BLOCK_SIZE + 10)), 'over two borders');
  const inPlace = await fs.prepareDma(inode, 0, BLOCK_SIZE, 'read');
  t.match(inPlace, [{ mediaOffset: first * BLOCK_SIZE, length: BLOCK_SIZE }]);
  const refusal = { name: 'DaxdError', code: 'EOPNOTSUPP', message: /stands in the journal/ };
  await t.rejects(fs.prepareDma(inode, 0, wanted.length, 'read'), refusal);
  const file = fs.fileOf(inode);
  t.throws(() => {
    file.assertLendable(0, wanted.length);
  }, refusal);
  file.assertLendable(0, BLOCK_SIZE);
  await close();
  t.equal(sha256Of(image), before, 'not a byte changed');

  const writable = await openImage(image);
  t.equal((await writable.fs.prepareDma(inode, 0, wanted.length, 'read')).length, 1);
  await closeClean(t, writable);
});

/** Opens it for writing, finds it read-only over errors, and not a byte changed. */
async function opensWithErrors(t: Test, image: string): Promise<void> {
  const before = sha256Of(image);
  for (let i = 0; i < 2; i++) {
    const open = await openImage(image);
    t.strictSame(open.volume.readOnlyReasons, [ERRORS_FOUND]);
    await t.rejects(open.fs.create('x'), { name: 'DaxdError', code: 'EROFS' });
    await open.close();
  }
  t.equal(sha256Of(image), before, 'not a byte changed');
}

t.test('openVolume: errors that only the log tells of make it read-only', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { image, old, first } = imageWithFile(t, []);
  const marked = `${image}.marked`;
  copyFileSync(image, marked);
  debugfsWrite(marked, ['ssv state 3', 'feature needs_recovery']);
  writeFileSync(`${image}.block`, readFileSync(marked).subarray(0, BLOCK_SIZE));
  const copies = [`jw -b 0 ${image}.block`, `jw -b ${first} ${old}`];
  debugfsWrite(image, ['jo -c -v 3', ...copies, 'jc']);
  t.match(runJudge('dumpe2fs', ['-h', image]).output, /Filesystem state: +clean\n/);

  await opensWithErrors(t, image);
  const { output } = runJudge('e2fsck', ['-fy', image]);
  t.match(output, /recovering journal/, 'its log is still there for e2fsck');
  await closeClean(t, await openImage(image));
});

t.test("openVolume: an error in the journal's superblock makes it read-only", async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  for (const log of ['empty', 'dirty']) {
    await t.test(log, async (t) => {
      const { image, old, first } = imageWithFile(t, []);
      const journal = debugfsExtents(image, JOURNAL_INODE)[0]?.physical ?? 0;
      if (log === 'dirty') debugfsWrite(image, ['jo -c -v 3', `jw -b ${first} ${old}`, 'jc']);
      const bytes = readFileSync(image);
      const jsb = bytes.subarray(journal * BLOCK_SIZE, journal * BLOCK_SIZE + JSB_BYTES);
      jsb.writeInt32BE(-5, JsbField.Errno);
      jsb.writeUInt32BE(0, JsbField.Checksum);
      if (log === 'dirty') jsb.writeUInt32BE(crc32c(CRC_INIT, jsb), JsbField.Checksum);
      writeFileSync(image, bytes);

      await opensWithErrors(t, image);
      runJudge('e2fsck', ['-fy', image]);
      await closeClean(t, await openImage(image));
    });
  }
});

t.test('openVolume: a journal that had checksums v1 is one that the kernel mounts', async (t) => {
  if (!requires(t, { commands: [...COMMANDS, 'tune2fs'], root: true })) return;
  const image = newImage(t, ['-O', '^metadata_csum,^metadata_csum_seed']);
  await withLoopMount(image, 'journal_checksum', (root) => {
    writeFileSync(`${root}/a`, '');
  });
  // It gives checksums to what was checked after its last mount alone.
  t.match(runJudge('e2fsck', ['-fy', image]), { status: 0 });
  t.match(runJudge('tune2fs', ['-O', 'metadata_csum', image]), { status: 0 });
  const features = (): string => runJudge('dumpe2fs', ['-h', image]).output;
  t.match(features(), /Journal features:.*journal_checksum\b/);

  const open = await openImage(image);
  await open.fs.create('x');
  await closeClean(t, open);
  t.match(features(), /Journal features:.*journal_checksum_v3/);
  t.notMatch(features(), /Journal features:.*journal_checksum\b/);
  await withLoopMount(image, 'rw', (root) => {
    t.ok(existsSync(`${root}/x`));
  });
});

/** Features of a journal that daxd does not write, and what makes one. */
const FOREIGN: readonly {
  readonly name: string;
  readonly args: readonly string[];
  /** How the kernel mounts it. */
  readonly options: string;
  /** Has debugfs make it, where no kernel of today does. */
  readonly requests?: readonly string[];
}[] = [
  { name: 'journal_async_commit', args: [], options: 'journal_async_commit,data=writeback' },
  { name: 'fast_commit', args: ['-O', 'fast_commit'], options: 'rw' },
  { name: 'journal_checksum_v2', args: [], options: 'rw', requests: ['jo -c -v 2'] },
];

/** Leaves a filesystem with a log of these features, empty, and a copy where it is not. */
async function foreignLog(
  t: Test,
  { args, options, requests }: (typeof FOREIGN)[number],
): Promise<{ readonly image: string; readonly dirty: string }> {
  const image = newImage(t, args);
  const dirty = `${image}.dirty`;
  if (requests !== undefined) {
    debugfsWrite(image, [...requests, 'jc']);
    copyFileSync(image, dirty);
    writeFileSync(`${image}.block`, Buffer.alloc(BLOCK_SIZE));
    debugfsWrite(dirty, [...requests, `jw -b 9000 ${image}.block`, 'jc']);
    return { image, dirty };
  }
  await withLoopMount(image, options, (root) => {
    writeFileSync(`${root}/before`, '');
    runJudge('sync', ['-f', root]);
    copyFileSync(image, dirty);
  });
  return { image, dirty };
}

for (const foreign of FOREIGN) {
  t.test(`openVolume: a log with ${foreign.name} is taken where it is empty`, async (t) => {
    if (!requires(t, { commands: COMMANDS, root: true })) return;
    const { image, dirty } = await foreignLog(t, foreign);
    const before = sha256Of(dirty);
    await t.rejects(openImage(dirty), {
      name: 'DaxdError',
      code: 'EOPNOTSUPP',
      message: new RegExp(`not empty.* with ${foreign.name}; mount and unmount it.*e2fsck -fy$`),
    });
    t.equal(sha256Of(dirty), before, 'not a byte changed');
    runJudge('e2fsck', ['-fy', dirty]);
    for (const path of [dirty, image]) {
      const open = await openImage(path);
      t.strictSame(open.volume.readOnlyReasons, []);
      await open.fs.create('x');
      const crashed = `${path}.crashed`;
      copyFileSync(path, crashed);
      await closeClean(t, open);
      t.notMatch(runJudge('dumpe2fs', ['-h', path]).output, /Journal features:.*(async|v2|I5)/);
      for (const mounted of [crashed, path]) {
        await withLoopMount(mounted, foreign.options, (root) => {
          t.ok(existsSync(`${root}/x`), 'the kernel goes on with it');
          writeFileSync(`${root}/y`, '');
        });
        const again = await openImage(mounted);
        again.fs.lookup('y');
        await closeClean(t, again);
      }
    }
  });
}

/** The first bytes of an image, by blocks. */
function blocksOf(image: string, bytes: number): Buffer[] {
  const whole = readFileSync(image);
  return Array.from({ length: bytes / BLOCK_SIZE }, (_, i) =>
    whole.subarray(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE),
  );
}

t.test('openVolume: a log that grows the filesystem is replayed', async (t) => {
  if (!requires(t, { commands: [...COMMANDS, 'resize2fs'] })) return;
  const image = newImage(t, ['-g', '2048', '-O', '^resize_inode'], 16 * MIB);
  truncateSync(image, 32 * MIB);
  const grown = `${image}.grown`;
  copyFileSync(image, grown);
  runJudge('resize2fs', ['-f', grown, '28M']);
  debugfsWrite(grown, ['feature needs_recovery']);
  const before = blocksOf(image, 28 * MIB);
  const after = blocksOf(grown, 28 * MIB);
  const changed = [...after.keys()].filter((i) => after[i]?.equals(before[i] ?? NONE) !== true);
  t.ok((changed.at(-1) ?? 0) >= (16 * MIB) / BLOCK_SIZE, 'blocks past the old end are logged');
  const homes = new Map(changed.map((i) => [i, after[i] ?? NONE]));
  const backing = await openBacking(image, { readOnly: false, log: silentLogger });
  const range = new BackingRange(backing, 0, backing.sizeBytes);
  const runs = debugfsExtents(image, JOURNAL_INODE).map(({ physical, length }) => ({
    start: physical,
    count: length,
  }));
  const journal = new Journal(new LogArea(range, runs), systemClock);
  await journal.start();
  await journal.commit({ blocks: homes, revoked: new Set() });
  await backing.close();
  debugfsWrite(image, ['feature needs_recovery']);
  const judged = `${image}.judged`;
  copyFileSync(image, judged);
  t.match(runJudge('e2fsck', ['-fy', judged]).output, /recovering journal/);
  t.match(runJudge('dumpe2fs', ['-h', judged]).output, /Block count: +7168\n/);

  for (const readOnly of [true, false]) {
    const open = await openImage(image, { readOnly });
    t.equal(open.volume.superblock.blocksCount, (28 * MIB) / BLOCK_SIZE);
    if (readOnly) await open.close();
    else await closeClean(t, open);
  }
});
