import { join } from 'node:path';

import type { Test } from 'tap';

import { mkfsExt4 } from '../../../src/fs/ext4/mkfs.js';
import { MIB } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { debugfs, makeImage, scratchDirectory } from '../ext4-image.js';
import { DiskImage, ImageMapping, JudgeFile, trialBacking } from './disk-image.js';
import type { Window } from './cuts.js';
import { Recoverers } from './recoverers.js';
import { stillClock } from './workload.js';

/** Over 128 MiB: e2fsck finds a copy of the superblock in the second group. */
const SIZE_BYTES = 136 * MIB;
const GROUPS = 2;
const BLOCK = 4096;

/** How the filesystem of a trial is made. */
export type TrialKind = 'mke2fs' | 'mke2fs, orphan file' | 'daxd';

/** A filesystem to be cut, and those who recover it. */
export interface Trial {
  readonly image: DiskImage;
  readonly windows: readonly Window[];
  readonly recoverers: Recoverers;
}

const MKE2FS_ARGS = ['-J', 'size=4', '-N', '512', '-m', '0'];

/** Makes a filesystem in `directory` and those who recover it; the caller closes these. */
export async function makeTrial(directory: string, kind: TrialKind): Promise<Trial> {
  const path = join(directory, 'template');
  if (kind === 'daxd') await makeOwn(path);
  else {
    const newer = ['-O', 'orphan_file,metadata_csum_seed', '-E', 'orphan_file_size=2'];
    const features = kind === 'mke2fs' ? [] : newer;
    makeImage(path, SIZE_BYTES, [...MKE2FS_ARGS, ...features]);
  }
  const image = DiskImage.fromFile(path);
  return {
    image,
    windows: windowsOf(path),
    recoverers: new Recoverers(directory, SIZE_BYTES),
  };
}

/** {@link makeTrial} for a test, closed when it ends. */
export async function trialFor(t: Test, kind: TrialKind): Promise<Trial> {
  const trial = await makeTrial(scratchDirectory(t), kind);
  t.teardown(() => {
    trial.recoverers.close();
  });
  return trial;
}

async function makeOwn(path: string): Promise<void> {
  const image = new DiskImage(SIZE_BYTES);
  const range = new BackingRange(trialBacking(new ImageMapping(image)), 0, SIZE_BYTES);
  await mkfsExt4(range, { label: 'power cut', clock: stillClock });
  const file = new JudgeFile(path, SIZE_BYTES);
  file.makeEqual(image);
  file.close();
}

/** Where updates lie that no medium makes whole, ext4.md 2.10 and 2.11, and which daxd does. */
function windowsOf(path: string): Window[] {
  const journal = Number(/^\d+$/m.exec(debugfs(path, 'bmap <8> 0'))?.[0]) * BLOCK;
  if (!(journal > 0)) throw new Error('debugfs does not say where the journal is');
  return [
    { name: 'superblock', from: 1024, to: 2048, excuses: 'at mount and unmount' },
    { name: 'journal superblock', from: journal, to: journal + 1024, excuses: 'never' },
    { name: 'descriptors', from: BLOCK, to: BLOCK + GROUPS * 64, excuses: 'when lines are torn' },
  ];
}
