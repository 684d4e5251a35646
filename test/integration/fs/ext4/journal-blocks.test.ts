/** Where the journal lies: not over the filesystem's tables, not over itself, and under no file. */
import { writeFileSync } from 'node:fs';

import t from 'tap';
import type { Test } from 'tap';

import { writeFile } from '../../../../src/fs/ext4/file-write.js';
import { BLOCK_SIZE } from '../../../../src/fs/ext4/layout.js';
import { debugfsWrite, fsck, runJudge, sha256Of } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { debugfsExtents, newImage, openImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck', 'debugfs', 'dumpe2fs'];
const JOURNAL_INODE = 8;
/** Magic of an extent node, and room for four in the inode. */
const ROOT = 0xf30a;
/** Nothing is there on a new image. */
const FREE_BLOCK = 9000;

interface Place {
  readonly start: number;
  readonly length: number;
}

/** Where the journal begins, and its blocks. */
function journalOf(image: string): Place {
  const extents = debugfsExtents(image, JOURNAL_INODE);
  const length = extents.reduce((blocks, extent) => blocks + extent.length, 0);
  return { start: extents[0]?.physical ?? 0, length };
}

/** Has the journal's inode map these runs, in the order of the log. */
function mapJournal(image: string, runs: readonly Place[]): void {
  let logical = 0;
  const words = runs.flatMap(({ start, length }) => {
    const extent = [logical, length, start];
    logical += length;
    return extent;
  });
  const root = [ROOT + runs.length * 65536, 4, 0, ...words];
  debugfsWrite(
    image,
    root.map((word, i) => `sif <${JOURNAL_INODE}> block[${i}] ${word}`),
  );
}

/** Puts a transaction into the log: the mount will have something to replay. */
function dirtyLog(t: Test, image: string): void {
  writeFileSync(`${image}.block`, Buffer.alloc(BLOCK_SIZE, 1));
  debugfsWrite(image, ['jo -c -v 3', `jw -b ${FREE_BLOCK} ${image}.block`, 'jc']);
  t.match(runJudge('dumpe2fs', ['-h', image]).output, /needs_recovery/);
}

async function isRefused(t: Test, image: string, message: RegExp): Promise<void> {
  const before = sha256Of(image);
  await t.rejects(openImage(image), { name: 'DaxdError', code: 'EUCLEAN', message });
  t.equal(sha256Of(image), before, 'not a byte changed');
}

for (const log of ['empty', 'dirty']) {
  t.test(`openVolume: a journal over the inode table is refused, its log ${log}`, async (t) => {
    if (!requires(t, { commands: COMMANDS })) return;
    const image = newImage(t);
    if (log === 'dirty') dirtyLog(t, image);
    const { start, length } = journalOf(image);
    const { output } = runJudge('dumpe2fs', [image]);
    const table = Number(/Inode table at (\d+)/.exec(output)?.[1]);
    mapJournal(image, [
      { start, length: 1 },
      { start: table, length: length - 1 },
    ]);
    t.not(fsck(image).status, 0, 'e2fsck finds something, too');
    await isRefused(t, image, /(journal|inode table of group 0) lies over/);
  });

  t.test(`openVolume: a journal over itself is refused, its log ${log}`, async (t) => {
    if (!requires(t, { commands: COMMANDS })) return;
    const image = newImage(t);
    if (log === 'dirty') dirtyLog(t, image);
    const { start, length } = journalOf(image);
    mapJournal(image, [
      { start, length: 1 },
      { start: FREE_BLOCK, length: 600 },
      { start: FREE_BLOCK + 100, length: length - 601 },
    ]);
    t.not(fsck(image).status, 0, 'e2fsck finds something, too');
    await isRefused(t, image, new RegExp(`inode 8: it maps block ${FREE_BLOCK + 100} twice`));
  });
}

t.test('openVolume: the tables that a replay will leave count', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t);
  const { start } = journalOf(image);
  const descriptors = `${image}.block`;
  // The descriptors as they are with the inode table in the journal, sealed: they are logged alone.
  const moved = `${image}.moved`;
  runJudge('cp', [image, moved]);
  debugfsWrite(moved, [`set_bg 0 inode_table ${start}`, 'set_bg 0 checksum calc']);
  t.not(fsck(moved).status, 0, 'e2fsck finds something, too');
  runJudge('dd', [`if=${moved}`, `of=${descriptors}`, 'bs=4096', 'skip=1', 'count=1']);
  debugfsWrite(image, ['jo -c -v 3', `jw -b 1 ${descriptors}`, 'jc']);
  await isRefused(t, image, /inode table of group 0/);
});

t.test('writeFile: a file that maps blocks of the journal is refused', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const image = newImage(t);
  writeFileSync(`${image}.data`, Buffer.alloc(4 * BLOCK_SIZE, 1));
  const made = debugfsWrite(image, [`write ${image}.data f`]);
  const inode = Number(/Allocated inode: (\d+)/.exec(made)?.[1]);
  const { start } = journalOf(image);
  debugfsWrite(image, [`sif <${inode}> block[5] ${start}`]);
  t.not(fsck(image).status, 0, 'e2fsck finds something, too');

  const open = await openImage(image);
  const written = writeFile(open.volume, inode, 0, Buffer.from('over the journal'));
  const refusal = {
    name: 'DaxdError',
    code: 'EUCLEAN',
    message: /belong to the filesystem's tables/,
  };
  await t.rejects(written, refusal);
  await t.rejects(open.fs.unlink('f'), refusal);
  await open.fs.create('g');
  await open.close();
  await (await openImage(image)).close();
  t.match(runJudge('debugfs', ['-R', 'logdump', image]).output, /Journal starts at block/);
});
