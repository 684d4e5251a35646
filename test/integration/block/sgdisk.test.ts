import { execFile } from 'node:child_process';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import t, { type Test } from 'tap';

import { Gendisk } from '../../../src/block/gendisk.js';
import { RequestQueue } from '../../../src/block/request-queue.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { MIB } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { requires } from '../../support/requires.js';
import { WarningRecorder } from '../../unit/block/log-recorder.js';
import { testSeed } from '../../support/random-test.js';
import { SeededRandom } from '../../support/seeded-random.js';

const run = promisify(execFile);
const sizeBytes = 64 * MIB;
const seed = testSeed(t);

async function sgdisk(...options: string[]): Promise<string> {
  const { stdout } = await run('sgdisk', options);
  return stdout;
}

/** Runs `work` on a disk over the whole of a file, and gives the file back. */
async function withDisk<T>(path: string, work: (disk: Gendisk) => T | Promise<T>): Promise<T> {
  const backing = await openBacking(path, { log: silentLogger });
  try {
    const range = new BackingRange(backing, 0, backing.sizeBytes);
    const disk = new Gendisk({
      name: 'pmem0',
      range,
      queue: new RequestQueue(),
      log: silentLogger,
    });
    disk.scanPartitions();
    return await work(disk);
  } finally {
    await backing.close();
  }
}

async function blankFile(t: Test): Promise<string> {
  const path = join(t.testdir(), 'disk');
  await writeFile(path, '');
  await truncate(path, sizeBytes);
  return path;
}

function rowsOf(disk: Gendisk): [number, number, number, string][] {
  return disk.partitions.map((p) => [
    p.number,
    p.startBytes / 512,
    (p.startBytes + p.sizeBytes) / 512 - 1,
    p.label,
  ]);
}

/** The table as sgdisk sees it. */
async function sgdiskRows(path: string): Promise<[number, number, number, string][]> {
  const text = await sgdisk('-p', path);
  const rows = text.matchAll(/^\s+(\d+)\s+(\d+)\s+(\d+)\s+\S+ \S+\s+[0-9A-F]{4}\s*(.*)$/gm);
  return [...rows].map(([, number, first, last, label]) => [
    Number(number),
    Number(first),
    Number(last),
    label ?? '',
  ]);
}

t.test('Gendisk: sgdisk finds no problem in what daxd wrote, edit after edit', async (t) => {
  if (!requires(t, { commands: ['sgdisk'] })) return;
  const path = await blankFile(t);
  const random = new SeededRandom(seed);
  for (let round = 0; round < 12; round++) {
    const rows = await withDisk(path, async (disk) => {
      const victim = disk.partitions[random.below(5)];
      if (victim === undefined) {
        const wanted = { sizeBytes: 4096 * (1 + random.below(3000)), label: `part ${round} é` };
        await disk.addPartition(wanted).catch((error: unknown) => {
          if (!(error instanceof DaxdError) || error.code !== 'ENOSPC') throw error;
        });
      } else {
        await disk.deletePartition(victim.name);
      }
      return rowsOf(disk);
    });
    t.match(await sgdisk('-v', path), /No problems found/);
    t.strictSame(await sgdiskRows(path), rows, `round ${round}`);
  }
});

t.test('Gendisk: the largest stretch reaches the end of the table', async (t) => {
  if (!requires(t, { commands: ['sgdisk'] })) return;
  const path = await blankFile(t);
  await withDisk(path, (disk) => disk.addPartition({ label: 'x'.repeat(36) }));
  t.match(await sgdisk('-v', path), /No problems found/);
  t.match(await sgdisk('-i', '1', path), `Partition name: '${'x'.repeat(36)}'`);
  t.match(await sgdisk('-i', '1', path), /0FC63DAF-8483-4772-8E79-3D69D8477DE4/);
});

t.test('Gendisk: reads and edits what sgdisk made', async (t) => {
  if (!requires(t, { commands: ['sgdisk'] })) return;
  const path = await blankFile(t);
  await sgdisk('-n', '2:4096:+8M', '-c', '2:boot', '-t', '2:ef00', path);
  await sgdisk('-n', '5:40960:+4M', '-c', '5:d å', '-A', '5:set:60', path);
  const rows = await withDisk(path, async (disk) => {
    t.strictSame(rowsOf(disk), await sgdiskRows(path));
    t.match(disk.partition('pmem0p2'), { type: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b' });
    await disk.addPartition({ sizeBytes: MIB, label: 'mine' });
    await disk.deletePartition('pmem0p2');
    return rowsOf(disk);
  });
  t.strictSame(await sgdiskRows(path), rows);
  t.match(await sgdisk('-v', path), /No problems found/);
  t.match(await sgdisk('-i', '5', path), /Attribute flags: 1000000000000000/, 'kept as it was');
});

t.test('Gendisk: a damaged primary of sgdisk is read from the backup, then mended', async (t) => {
  if (!requires(t, { commands: ['sgdisk'] })) return;
  const path = await blankFile(t);
  await sgdisk('-n', '1:4096:+8M', '-c', '1:data', path);
  const rows = await sgdiskRows(path);
  const backing = await openBacking(path, { log: silentLogger });
  backing.mapping.fill(512 + 24, 8, 0xee);
  await backing.persist(0, 4096);
  const log = new WarningRecorder();
  const range = new BackingRange(backing, 0, sizeBytes);
  const disk = new Gendisk({ name: 'pmem0', range, queue: new RequestQueue(), log });
  disk.scanPartitions();
  t.strictSame(rowsOf(disk), rows);
  t.match(log.warnings, [{ message: /primary GPT damaged/ }]);
  await disk.addPartition({ sizeBytes: MIB, label: 'more' });
  await backing.close();
  t.match(await sgdisk('-v', path), /No problems found/);
  t.equal((await sgdiskRows(path)).length, 2);
});

t.test('Gendisk: a table of other than 128 slots is read and edited', async (t) => {
  if (!requires(t, { commands: ['sgdisk'] })) return;
  for (const slots of ['4', '56', '256']) {
    const path = await blankFile(t);
    await sgdisk('-S', slots, '-n', '1:8192:+8M', '-c', '1:data', path);
    const rows = await withDisk(path, async (disk) => {
      t.equal(disk.partitions.length, 1, `${slots} slots`);
      await disk.addPartition({ label: 'more' });
      return rowsOf(disk);
    });
    t.strictSame(await sgdiskRows(path), rows);
    t.match(await sgdisk('-v', path), /No problems found/);
  }
});
