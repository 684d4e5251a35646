import { spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

import { mountExt4 } from '../../src/fs/ext4/ext4.js';
import type { Ext4 } from '../../src/fs/ext4/ext4.js';
import { systemClock } from '../../src/lib/clock.js';
import { silentLogger } from '../../src/lib/logger.js';
import { GIB, MIB, PAGE_SIZE } from '../../src/lib/units.js';
import { BackingRange } from '../../src/media/backing-range.js';
import type { Backing } from '../../src/media/backing.js';
import { openBacking } from '../../src/media/open-backing.js';
import { mapPages } from '../unit/mm/set-up.js';
import { layoutsOf } from '../support/layouts.js';
import { ROUNDS, medianRow, type BenchRow } from './bench-row.js';

/**
 * Files that one round makes, writes, cuts and removes. So many that each step fills the log
 * more than once: what a side puts off until then, it does within the step.
 */
const FILES = 4000;
/** What is copied at a time, and how often, against a plain copy of as much. */
const COPY_BYTES = 64 * MIB;
const COPIES = 4;

const STEPS = ['create', 'write 4 KiB', 'truncate', 'unlink'] as const;
type Step = (typeof STEPS)[number];

/** One operation on the file of a number, durable when it settles. */
type Operations = Readonly<Record<Step, (file: number) => Promise<void> | void>>;

interface Side {
  readonly operations: Operations;
  readonly close: () => Promise<void>;
}

/**
 * The same operations on the same image on tmpfs, one after the other and each durable before
 * the next: by daxd, and by the kernel's ext4 through a loop device with fsync. Then copies
 * through the map against copies between two Buffers.
 */
export async function run(): Promise<BenchRow[]> {
  const directory = mkdtempSync('/dev/shm/daxd-bench-');
  try {
    return [...(await operationRows(directory)), ...(await copyRows(directory))];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function operationRows(directory: string): Promise<BenchRow[]> {
  const rounds: { ours: Record<Step, number>; peer: Record<Step, number> }[] = [];
  // A daemon runs for long: what is measured is compiled by then.
  await perSecond(await daxdSide(newImage(directory)));
  for (let round = 0; round < ROUNDS; round++) {
    const ours = await perSecond(await daxdSide(newImage(directory)));
    const peer = await perSecond(kernelSide(newImage(directory)));
    rounds.push({ ours, peer });
  }
  return STEPS.map((step) =>
    medianRow(
      step,
      'ops/s',
      rounds.map(({ ours, peer }) => ({ ours: ours[step], peer: peer[step] })),
    ),
  );
}

/** Operations a second of each kind. */
async function perSecond({ operations, close }: Side): Promise<Record<Step, number>> {
  const results: Record<Step, number> = { create: 0, 'write 4 KiB': 0, truncate: 0, unlink: 0 };
  try {
    for (const step of STEPS) {
      const startedMs = systemClock.nowMs();
      for (let file = 0; file < FILES; file++) await operations[step](file);
      results[step] = Math.round((FILES * 1000) / (systemClock.nowMs() - startedMs));
    }
  } finally {
    await close();
  }
  return results;
}

const BLOCK = Buffer.alloc(PAGE_SIZE, 0x5a);

async function daxdSide(image: string): Promise<Side> {
  const { fs, backing } = await mount(image);
  const inodes: number[] = [];
  const inodeOf = (file: number): number => inodes[file] ?? 0;
  return {
    operations: {
      create: async (file) => {
        inodes[file] = await fs.create(`f${file}`);
      },
      'write 4 KiB': async (file) => {
        await fs.write(inodeOf(file), 0, BLOCK);
      },
      truncate: async (file) => {
        await fs.truncate(inodeOf(file), 100);
      },
      unlink: async (file) => {
        await fs.unlink(`f${file}`);
      },
    },
    close: async () => {
      await fs.unmount();
      await backing.close();
    },
  };
}

function kernelSide(image: string): Side {
  const at = `${image}.mounted`;
  mkdirSync(at, { recursive: true });
  must('mount', ['-o', 'loop', image, at]);
  const directory = openSync(at, 'r');
  const withFile = (file: number, flags: string, run: (fd: number) => void): void => {
    const fd = openSync(join(at, `f${file}`), flags);
    run(fd);
    fsyncSync(fd);
    closeSync(fd);
  };
  return {
    operations: {
      create: (file) => {
        withFile(file, 'wx', () => {});
      },
      'write 4 KiB': (file) => {
        withFile(file, 'r+', (fd) => {
          writeSync(fd, BLOCK, 0, BLOCK.length, 0);
        });
      },
      truncate: (file) => {
        withFile(file, 'r+', (fd) => {
          ftruncateSync(fd, 100);
        });
      },
      unlink: (file) => {
        unlinkSync(join(at, `f${file}`));
        fsyncSync(directory);
      },
    },
    close: async () => {
      closeSync(directory);
      must('umount', [at]);
    },
  };
}

/** File data through the map, against as many bytes from one Buffer to another. */
async function copyRows(directory: string): Promise<BenchRow[]> {
  const { fs, backing } = await mount(newImage(directory));
  const from = Buffer.alloc(COPY_BYTES, 1);
  const to = Buffer.alloc(COPY_BYTES);
  const file = await fs.create('data');
  // All pages are there before the first round, on both sides.
  await fs.write(file, 0, from);
  const write = async (): Promise<void> => {
    await fs.write(file, 0, from);
  };
  const read = async (): Promise<void> => {
    fs.read(file, 0, to);
  };
  const copy = async (): Promise<void> => {
    from.copy(to);
  };
  const rows: BenchRow[] = [];
  for (const [name, work] of [
    ['sequential write', write],
    ['sequential read', read],
  ] as const) {
    const rounds: { ours: number; peer: number }[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      rounds.push({ ours: await gibPerSecond(work), peer: await gibPerSecond(copy) });
    }
    rows.push(medianRow(name, 'GiB/s', rounds));
  }
  await fs.unmount();
  await backing.close();
  return rows;
}

async function gibPerSecond(work: () => Promise<void>): Promise<number> {
  const startedMs = systemClock.nowMs();
  for (let i = 0; i < COPIES; i++) await work();
  const seconds = (systemClock.nowMs() - startedMs) / 1000;
  return Number(((COPIES * COPY_BYTES) / GIB / seconds).toFixed(2));
}

async function mount(image: string): Promise<{ fs: Ext4; backing: Backing }> {
  const backing = await openBacking(image, { log: silentLogger });
  const { pgmap, waiters } = await mapPages({ pages: backing.sizeBytes / PAGE_SIZE });
  const range = new BackingRange(backing, 0, backing.sizeBytes);
  const layouts = layoutsOf({ pgmap, waiters });
  const fs = await mountExt4(range, {
    readOnly: false,
    layouts,
    log: silentLogger,
    clock: systemClock,
  });
  return { fs, backing };
}

/** An empty filesystem as mke2fs makes it. */
function newImage(directory: string): string {
  const image = join(directory, 'image');
  rmSync(image, { force: true });
  writeFileSync(image, '');
  truncateSync(image, GIB);
  must('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', '4096', '-E', 'lazy_itable_init=0', image]);
  return image;
}

function must(command: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}
