import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Test } from 'tap';

import { Layouts } from '../../../../src/dax/layouts.js';
import { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { openVolume } from '../../../../src/fs/ext4/mount-state.js';
import type { Volume } from '../../../../src/fs/ext4/volume.js';
import { systemClock } from '../../../../src/lib/clock.js';
import type { Clock } from '../../../../src/lib/clock.js';
import { silentLogger } from '../../../../src/lib/logger.js';
import { MIB, PAGE_SIZE } from '../../../../src/lib/units.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import type { Backing } from '../../../../src/media/backing.js';
import { openBacking } from '../../../../src/media/open-backing.js';
import { pinUserPages, unpinUserPages } from '../../../../src/mm/gup.js';
import { bytesOf } from '../../../support/backing-bytes.js';
import { debugfs, fsck, makeImage, runJudge } from '../../../support/ext4-image.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { mapPages } from '../../../unit/mm/set-up.js';
import { layoutsOf } from '../../../support/layouts.js';
import { MemoryBacking } from '../../../support/memory-backing.js';
import { SeededRandom } from '../../../support/seeded-random.js';

/** A volume of an image file, open for writing, with pages under it that can be pinned. */
export interface OpenImage {
  readonly image: string;
  readonly volume: Volume;
  readonly fs: Ext4;
  readonly layouts: Layouts;
  readonly backing: Backing;
  /** Pins whole pages of the partition, in bytes of it. */
  readonly pin: (offset: number, length: number) => void;
  readonly unpin: (offset: number, length: number) => void;
  readonly close: () => Promise<void>;
}

export interface OpenImageOptions {
  readonly readOnly?: boolean;
  /** Opens a copy of the image in memory, and runs within each persist. */
  readonly onPersist?: (offset: number, length: number) => void | Promise<void>;
  readonly startBytes?: number;
  readonly sizeBytes?: number;
  readonly clock?: Clock;
}

/** Opens the volume in an image file; the caller closes it. */
export async function openImage(
  image: string,
  {
    readOnly = false,
    onPersist,
    startBytes = 0,
    sizeBytes,
    clock = systemClock,
  }: OpenImageOptions = {},
): Promise<OpenImage> {
  const backing =
    onPersist === undefined
      ? await openBacking(image, { readOnly, log: silentLogger })
      : copyInMemory(image, onPersist);
  const { memremap, pgmap, waiters } = await mapPages({ pages: backing.sizeBytes / PAGE_SIZE });
  const layouts = layoutsOf({ pgmap, waiters });
  const range = new BackingRange(backing, startBytes, sizeBytes ?? backing.sizeBytes - startBytes);
  const pfn = (offset: number): number => (startBytes + offset) / PAGE_SIZE;
  try {
    const options = { readOnly, log: silentLogger, clock, layouts };
    const volume = await openVolume(range, options);
    const fs = new Ext4(volume);
    return {
      image,
      volume,
      fs,
      layouts,
      backing,
      pin: (offset, length) => {
        pinUserPages(memremap, pfn(offset), length / PAGE_SIZE);
      },
      unpin: (offset, length) => {
        unpinUserPages(memremap, pfn(offset), length / PAGE_SIZE);
      },
      async close() {
        await fs.unmount();
        await backing.close();
      },
    };
  } catch (error) {
    await backing.close();
    throw error;
  }
}

function copyInMemory(image: string, onPersist: OpenImageOptions['onPersist']): MemoryBacking {
  const bytes = readFileSync(image);
  const backing = new MemoryBacking(bytes.length, onPersist && { onPersist });
  backing.mapping.write(0, bytes);
  return backing;
}

/** Writes what a backing in memory holds over its image, for the judges. */
export function saveImage({ image, backing }: OpenImage): void {
  writeFileSync(image, bytesOf(backing));
}

/** A new image by mke2fs, not yet opened. */
export function newImage(t: Test, args: readonly string[] = [], sizeBytes = 64 * MIB): string {
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, sizeBytes, args);
  return image;
}

/** Closes a volume, and has e2fsck look at what it left. */
export async function closeClean(t: Test, { image, close }: OpenImage): Promise<void> {
  await close();
  const { status, output } = fsck(image);
  t.equal(status, 0, `e2fsck finds nothing: ${status === 0 ? '' : output}`);
}

/** A file's content as debugfs reads it. */
export function dumpFile(image: string, inode: number): Buffer {
  const out = join(mkdtempSync(join(image, '..', 'dump-')), 'content');
  debugfs(image, `dump <${inode}> ${out}`);
  return readFileSync(out);
}

/** What debugfs says of a file's extents, in blocks. */
export function debugfsExtents(
  image: string,
  inode: number,
): { logical: number; physical: number; length: number; unwritten: boolean }[] {
  const { output } = runJudge('debugfs', ['-R', `ex -l <${inode}>`, image]);
  const rows = output.matchAll(
    /^\s*\d+\/\s*\d+\s+\d+\/\s*\d+\s+(\d+)\s+-\s+\d+\s+(\d+)\s+-\s+\d+\s+(\d+) *(Uninit)?/gm,
  );
  return [...rows].map(([, logical, physical, length, unwritten]) => ({
    logical: Number(logical),
    physical: Number(physical),
    length: Number(length),
    unwritten: unwritten !== undefined,
  }));
}

/** {@link SeededRandom.below} of a new generator. */
export function randomFrom(seed: number): (below: number) => number {
  const random = new SeededRandom(seed);
  return (below) => random.below(below);
}
