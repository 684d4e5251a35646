import { join } from 'node:path';

import type { Test } from 'tap';

import { mkfsExt4 } from '../../../src/fs/ext4/mkfs.js';
import { MIB } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { debugfs, makeImage } from '../ext4-image.js';
import { scratchDirectory } from '../scratch-directory.js';
import { DiskImage, ImageMapping, JudgeFile, trialBacking } from './disk-image.js';
import type { Window } from './cuts.js';
import { Recoverers } from './recoverers.js';
import { stillClock } from './workload.js';

const BLOCK = 4096;
const DESCRIPTOR = 64;

/** How large the filesystem of a trial is, and what its groups are like. */
export interface TrialGeometry {
  readonly sizeBytes: number;
  readonly blocksPerGroup: number;
  /** What mke2fs is told beside its kind. */
  readonly args: readonly string[];
}

/** Over 128 MiB: e2fsck finds a copy of the superblock in the second group. */
const TWO_GROUPS: TrialGeometry = {
  sizeBytes: 136 * MIB,
  blocksPerGroup: 32768,
  args: ['-N', '512'],
};

/**
 * More groups than a transaction takes bitmaps: what frees blocks in all of them takes several.
 * Each begins with a copy of the superblock, so that there is one where e2fsck looks for it.
 */
export const MANY_GROUPS: TrialGeometry = {
  sizeBytes: 1020 * MIB,
  blocksPerGroup: 256,
  args: ['-g', '256', '-O', '^flex_bg,^resize_inode,^sparse_super'],
};

/** How the filesystem of a trial is made. */
export type TrialKind = 'mke2fs' | 'mke2fs, orphan file' | 'daxd';

/** A filesystem to be cut, and those who recover it. */
export interface Trial {
  readonly image: DiskImage;
  readonly windows: readonly Window[];
  readonly recoverers: Recoverers;
}

/** Makes a filesystem in `directory` and those who recover it; the caller closes these. */
export async function makeTrial(
  directory: string,
  kind: TrialKind,
  geometry: TrialGeometry = TWO_GROUPS,
): Promise<Trial> {
  const path = join(directory, 'template');
  const { sizeBytes } = geometry;
  if (kind === 'daxd') await makeOwn(path, sizeBytes);
  else {
    const newer = ['-O', 'orphan_file,metadata_csum_seed', '-E', 'orphan_file_size=2'];
    const features = kind === 'mke2fs' ? [] : newer;
    makeImage(path, sizeBytes, ['-J', 'size=4', '-m', '0', ...geometry.args, ...features]);
  }
  const image = DiskImage.fromFile(path);
  return {
    image,
    windows: windowsOf(path, geometry),
    recoverers: new Recoverers(directory, sizeBytes),
  };
}

/** {@link makeTrial} for a test, closed when it ends. */
export async function trialFor(t: Test, kind: TrialKind, geometry?: TrialGeometry): Promise<Trial> {
  const trial = await makeTrial(scratchDirectory(t), kind, geometry);
  t.teardown(() => {
    trial.recoverers.close();
  });
  return trial;
}

async function makeOwn(path: string, sizeBytes: number): Promise<void> {
  const image = new DiskImage(sizeBytes);
  const range = new BackingRange(trialBacking(new ImageMapping(image)), 0, sizeBytes);
  await mkfsExt4(range, { label: 'power cut', clock: stillClock });
  const file = new JudgeFile(path, sizeBytes);
  file.makeEqual(image);
  file.close();
}

/** Where updates lie that no medium makes whole, ext4.md 2.10 and 2.11, and which daxd does. */
function windowsOf(path: string, { sizeBytes, blocksPerGroup }: TrialGeometry): Window[] {
  const journal = Number(/^\d+$/m.exec(debugfs(path, 'bmap <8> 0'))?.[0]) * BLOCK;
  if (!(journal > 0)) throw new Error('debugfs does not say where the journal is');
  const groups = Math.ceil(sizeBytes / BLOCK / blocksPerGroup);
  return [
    { name: 'superblock', from: 1024, to: 2048, excuses: 'at mount and unmount' },
    { name: 'journal superblock', from: journal, to: journal + 1024, excuses: 'never' },
    {
      name: 'descriptors',
      from: BLOCK,
      to: BLOCK + groups * DESCRIPTOR,
      excuses: 'when lines are torn',
    },
  ];
}
